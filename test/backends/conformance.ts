/**
 * What every backend must do. Each backend's test file calls this once for each wire that it speaks.
 *
 * The suite plays the worker (played-session.ts) and looks at what the model was shown, in one form for all wires
 * (seen-conversation.ts). What a backend cannot do is in its capabilities, and is then expected to be refused in words.
 */
import { afterAll, beforeAll, describe } from "vitest";
import type { SteppedBackend } from "../../backends/backend.ts";
import { makeBackend } from "./backend-process.ts";
import { type BackendUnderTest, type Given, lastOf, SLOW_MS } from "./backend-under-test.ts";
import { describeContents } from "./conformance-contents.ts";
import { describeConversations } from "./conformance-conversations.ts";
import { describeFaults } from "./conformance-faults.ts";
import { describeMoves } from "./conformance-moves.ts";
import { describeProcesses } from "./conformance-processes.ts";
import { describeReplies } from "./conformance-replies.ts";
import { describeSetUp } from "./conformance-set-up.ts";
import { describeStreams } from "./conformance-streams.ts";
import { PlayedSession } from "./played-session.ts";

export type { Wire } from "./backend-under-test.ts";

export function describeBackend(name: string, make: () => Promise<BackendUnderTest>): void {
  describeParts(name, make, [...SESSIONS, describeStreams, describeSetUp, describeProcesses]);
}

/**
 * The part that can depend on how a step finds what the steps before it have left: for a backend that has more than one way.
 * A first step has nothing before it, and in another process there is only one way.
 */
export function describeSessions(name: string, make: () => Promise<BackendUnderTest>): void {
  describeParts(name, make, SESSIONS);
}

type Part = (given: () => Given) => void;

const SESSIONS: readonly Part[] = [
  describeReplies,
  describeContents,
  describeConversations,
  describeMoves,
  describeFaults,
];

function describeParts(name: string, make: () => Promise<BackendUnderTest>, parts: readonly Part[]): void {
  describe(`backend ${name}`, () => {
    let made: BackendUnderTest;
    let backend: SteppedBackend;
    beforeAll(async () => {
      made = await make();
      backend = await makeBackend(made.recipe);
    }, SLOW_MS);
    afterAll(async () => {
      await backend[Symbol.asyncDispose]?.();
      await made[Symbol.asyncDispose]();
    }, SLOW_MS);
    const given = (): Given => ({
      ...made,
      backend,
      run: (input, sink, signal) => backend.step(input, sink, signal),
      session: (agent, tools) =>
        new PlayedSession({ ...agent, modelSettings: { ...made.modelSettings, ...agent?.modelSettings } }, tools),
      last: () => lastOf(made),
    });

    for (const part of parts) part(given);
  });
}
