/** What one run of a session's workflow hands to the next. */
import type { SessionAgent } from "../contract/steps.ts";
import type { SessionInput } from "./messages.ts";
import type { SessionState } from "./session-state.ts";

export interface SessionRun extends SessionInput {
  readonly carried?: SessionState;
}

/** The next run, which can do all that this code can, whatever the session was started with. */
export function nextRun(input: SessionRun, agent: SessionAgent, carried: SessionState): SessionRun {
  return {
    ...input,
    agent,
    ...(input.anew !== undefined && { anew: 0 }),
    carried,
    keepsWorkspace: true,
    continuesAnywhere: true,
    recovers: true,
  };
}
