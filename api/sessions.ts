/** What the API asks of Temporal, as one small interface, so that nothing else here knows how it is done. */
import type { Agent } from "../contract/agents.ts";
import type { MessageId, SessionId } from "../contract/ids.ts";
import type { InterruptTurn, MessageTaken, Progress, SubmitMessage, WaitEnded } from "../contract/session.ts";
import type { TerminalKey } from "../contract/terminals.ts";
import type { CommandKey, WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
import type { IdleSandboxKey } from "../workflows/messages.ts";

/** A session's workflow as it is started; the same for every start of the same session. */
export interface SessionStart {
  readonly sessionId: SessionId;
  readonly agent: Agent;
  readonly title: string | null;
  /** One line for Temporal's UI. */
  readonly summary: string;
}

/** A request that is to be done once, whoever repeats it: the caller's name for it, and a hash of what is asked for. */
export interface RequestKey {
  readonly name: string;
  readonly content: string;
}

export interface WorkflowRun {
  readonly workflowId: string;
  readonly runId: string;
}

/** Every call is bounded in time and safe to repeat; each throws SessionsError and nothing else. */
export interface Sessions extends AsyncDisposable {
  /** Starts the session's workflow. One that runs already is left alone; one that has ended is started again. Throws `missing` when the session is gone. */
  start(start: SessionStart): Promise<void>;
  /** Hands a message over. The same id again is answered as before. */
  submit(sessionId: SessionId, message: SubmitMessage): Promise<MessageTaken>;
  /** Takes a message out of the queue, if it is there. */
  removeMessage(sessionId: SessionId, messageId: MessageId): Promise<void>;
  interrupt(sessionId: SessionId, request: InterruptTurn): Promise<void>;
  /** Tells a turn of the end of a wait. The same decision again changes nothing. */
  endWait(sessionId: SessionId, wait: WaitEnded): Promise<void>;
  /** `incarnation`: only that one of the sessions that had this id. Throws `missing` when it is another. */
  close(sessionId: SessionId, incarnation?: string): Promise<void>;
  /** Terminates the session's workflow, if it runs: it does not agree with the rows. */
  abandon(sessionId: SessionId): Promise<void>;
  /** Workflows of this stack's sessions that run, but for the newest. */
  running(): Promise<readonly WorkflowRun[]>;
  /** Terminates one whose session is over. */
  end(run: WorkflowRun): Promise<void>;
  progress(sessionId: SessionId): Promise<Progress>;
  /** Whether a task of its workflow waits for long, or fails again and again, as when its history does not lead to what the code does. Throws `missing` without one. */
  isStuck(sessionId: SessionId): Promise<boolean>;
  /** Deletes everything of a closed session, its workflow's history included. Only of that incarnation; one that is gone is left so. */
  purge(sessionId: SessionId, incarnation?: string): Promise<void>;
  /**
   * A short look or write; as long as a worker is at it, it is waited for. The same `key` again is the same
   * request; its name with another content is a CONFLICT, unless what it named before was refused.
   */
  workspace(request: WorkspaceRequest, key?: RequestKey): Promise<WorkspaceAnswer>;
  /** Has a committed command run. One that runs already is left alone. */
  runCommand(command: CommandKey): Promise<void>;
  /** Has it ended. Throws `missing` when nothing runs it. */
  stopCommand(command: CommandKey): Promise<void>;
  /** Has a sandbox stopped that nobody has used for so long. */
  stopIdle(key: IdleSandboxKey): Promise<void>;
  /** Has a terminal served, as long as it is open. */
  serveTerminal(key: TerminalKey): Promise<void>;
  /** Resolves when Temporal answers. */
  check(): Promise<void>;
}

/**
 * foreign: the Temporal is another stack's alone. missing: there is no such workflow, or it has ended. refused: its validator would not take it, for the reason in the message.
 * unreachable: Temporal does not answer. unanswered: Temporal does, but no worker did in time. failed: anything else.
 */
export type SessionsErrorKind = "foreign" | "missing" | "refused" | "unreachable" | "unanswered" | "failed";

export class SessionsError extends Error {
  override readonly name = "SessionsError";
  readonly kind: SessionsErrorKind;

  constructor(kind: SessionsErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

export function isKind(error: unknown, ...kinds: readonly SessionsErrorKind[]): error is SessionsError {
  return error instanceof SessionsError && kinds.includes(error.kind);
}
