/** The ends of turns and sessions, and what is left to remove after them. */
import type { SessionId } from "../contract/ids.ts";
import type { Recovered, SessionClosing, TurnEnded, TurnEnding, TurnKey, WaitKey } from "../contract/steps.ts";
import type { WaitVerdict } from "../contract/waits.ts";
import { removeUnusedBlobs } from "../store/artifacts.ts";
import { runningCalls } from "../store/calls.ts";
import { recoverSession } from "../store/recovery.ts";
import { closeSession, isWanted } from "../store/session-closing.ts";
import { purgeSession } from "../store/sessions.ts";
import { dropSnapshots } from "../store/snapshots.ts";
import { endTurn } from "../store/turns.ts";
import { expireWait } from "../store/waits.ts";
import { admitted, type SessionKey } from "./admission.ts";
import { attempted, attemptedBriefly } from "./attempt.ts";
import { placeSandbox, placeStop } from "./place-work.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { findSandbox, prepareSandbox, stopSandbox } from "./session-sandbox.ts";

export interface SessionEnds {
  /** Makes the session's sandbox ahead of the first tool that needs it. */
  ensureSandbox(key: SessionKey): Promise<void>;
  /** Ends the commands of a stopped turn that no attempt was left to end. */
  stopCalls(turn: TurnKey): Promise<void>;
  /** What the store says is going on, for a workflow that is begun anew; null when there is no such session, or it is closed. */
  recoverSession(key: { readonly sessionId: SessionId }): Promise<Recovered | null>;
  /** Commits how a turn ended. A repeat changes nothing. */
  endTurn(ending: TurnEnding): Promise<TurnEnded>;
  /** Decides what nobody has decided by its deadline, or finds what somebody has. */
  expireWait(key: WaitKey): Promise<WaitVerdict>;
  /** Stops the sandbox, then says that the session is closed. A repeat changes nothing. `onRequest`: only if the rows know that somebody asked for it. */
  closeSession(key: SessionKey & { readonly onRequest?: true }): Promise<SessionClosing | undefined>;
  /** Removes the sandbox, the rows and the blobs that nobody else uses. */
  purgeSession(key: SessionKey): Promise<void>;
}

export function createSessionEnds(deps: RunToolDeps): SessionEnds {
  const { database, blobs, transcripts } = deps.store;
  return {
    ensureSandbox: (key) =>
      admitted(deps, { key, kinds: ["session"] }, async () => {
        await placeSandbox(deps, key);
        await prepareSandbox(deps, key.sessionId);
      }),
    stopCalls: ({ sessionId, turnId }) =>
      attempted(deps, async () => {
        const calls = await runningCalls(database, sessionId, turnId);
        await placeStop(deps, { sessionId, calls });
        await using sandbox = calls.length > 0 ? await findSandbox(deps, sessionId) : undefined;
        const commands = calls.flatMap((call) => [
          call.callId,
          ...(deps.tools.find(call.name)?.startedCommands?.(call.intent) ?? []),
        ]);
        await Promise.all(commands.map((command) => sandbox?.kill(command)));
      }),
    recoverSession: ({ sessionId }) =>
      attemptedBriefly(deps, async () => (await recoverSession(database, sessionId)) ?? null),
    endTurn: (ending) => attemptedBriefly(deps, () => endTurn(database, ending)),
    expireWait: (key) => attemptedBriefly(deps, () => expireWait(database, key)),
    closeSession: (key) =>
      admitted(deps, { key, kinds: ["session"] }, async () => {
        const { sessionId } = key;
        if (key.onRequest && (await isWanted(database, sessionId))) return { behind: true as const };
        await stopSandbox(deps, sessionId);
        await dropSnapshots(deps.store, sessionId);
        await closeSession(database, sessionId);
        transcripts.forget(sessionId);
        return {};
      }),
    purgeSession: (key) =>
      admitted(deps, { key, kinds: ["purge"] }, async () => {
        const { sessionId } = key;
        await stopSandbox(deps, sessionId).catch((error: unknown) => {
          if (!(error instanceof Error && error.message.includes("is gone"))) throw error;
        });
        await purgeSession(database, sessionId);
        await removeUnusedBlobs(database, blobs);
        transcripts.forget(sessionId);
      }),
  };
}
