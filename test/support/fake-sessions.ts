/** A gateway without Temporal: it keeps the promises of `Sessions` over a store, and fails on demand. */
import {
  type RequestKey,
  type SessionStart,
  type Sessions,
  SessionsError,
  type SessionsErrorKind,
  type WorkflowRun,
} from "../../api/sessions.ts";
import type { CallId, MessageId, SessionId } from "../../contract/ids.ts";
import type { InterruptTurn, MessageTaken, Progress, SubmitMessage, WaitEnded } from "../../contract/session.ts";
import type { TerminalKey } from "../../contract/terminals.ts";
import { NO_USAGE } from "../../contract/usage.ts";
import type { CommandKey, DownloadOrder, WorkspaceAnswer, WorkspaceRequest } from "../../contract/workspace.ts";
import { removeUnusedBlobs } from "../../store/artifacts.ts";
import { closeSession } from "../../store/session-closing.ts";
import { findPlace } from "../../store/session-places.ts";
import { purgeSession } from "../../store/sessions.ts";
import type { Store } from "../../store/store.ts";
import type { IdleSandboxKey } from "../../workflows/messages.ts";

type Method = keyof Omit<Sessions, typeof Symbol.asyncDispose>;

export class FakeSessions implements Sessions {
  readonly #store: Store;
  /** Calls in order, failed ones included. */
  readonly calls: { readonly method: Method; readonly id: string }[] = [];
  readonly started = new Map<SessionId, SessionStart>();
  readonly submitted: { readonly sessionId: SessionId; readonly message: SubmitMessage }[] = [];
  readonly removed: MessageId[] = [];
  readonly interrupts: { readonly sessionId: SessionId; readonly request: InterruptTurn }[] = [];
  readonly endedWaits: { readonly sessionId: SessionId; readonly wait: WaitEnded }[] = [];
  /** Files of every session's workspace, `<session>/<path>`. */
  readonly files = new Map<string, Buffer>();
  /** Requests for workspaces, and the orders of downloads among them, as a worker would read them. */
  readonly asked: { readonly request: WorkspaceRequest; readonly key: RequestKey | undefined }[] = [];
  readonly orders: DownloadOrder[] = [];
  /** Answers instead of `files`, first come first served. */
  readonly answers: WorkspaceAnswer[] = [];
  readonly commands: CommandKey[] = [];
  readonly stopped: CallId[] = [];
  readonly terminals: TerminalKey[] = [];
  /** Workflows that ran and are gone, as after `temporal workflow terminate`. */
  readonly ended = new Set<SessionId>();
  /** What `progress` answers. */
  snapshot: Progress = idleProgress();
  /** When false, a signal to close is taken, and nothing comes of it: no worker runs. */
  closes = true;
  #failures = new Map<Method, SessionsErrorKind>();
  #failuresFor = new Map<string, SessionsErrorKind>();
  #inFlight = new Map<SessionId, number>();
  /** Most submits that were in flight at once for one session. */
  mostInFlight = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Makes calls of a method fail, until `recover`. */
  fail(kind: SessionsErrorKind, ...methods: Method[]): void {
    for (const method of methods) this.#failures.set(method, kind);
  }

  /** Makes calls for one session or message fail, until `recover`. */
  failFor(kind: SessionsErrorKind, id: string): void {
    this.#failuresFor.set(id, kind);
  }

  recover(): void {
    this.#failures.clear();
    this.#failuresFor.clear();
  }

  count(method: Method): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  #note(method: Method, id: string): void {
    this.calls.push({ method, id });
    const kind = this.#failures.get(method) ?? this.#failuresFor.get(id);
    if (kind !== undefined) throw new SessionsError(kind, `scripted: ${kind}`);
  }

  #reach(sessionId: SessionId): void {
    if (!this.started.has(sessionId) || this.ended.has(sessionId))
      throw new SessionsError("missing", "no such workflow");
  }

  async start(start: SessionStart): Promise<void> {
    this.#note("start", start.sessionId);
    this.ended.delete(start.sessionId);
    if (!this.started.has(start.sessionId)) this.started.set(start.sessionId, start);
  }

  async submit(sessionId: SessionId, message: SubmitMessage): Promise<MessageTaken> {
    this.#note("submit", message.messageId);
    this.#reach(sessionId);
    const inFlight = (this.#inFlight.get(sessionId) ?? 0) + 1;
    this.#inFlight.set(sessionId, inFlight);
    this.mostInFlight = Math.max(this.mostInFlight, inFlight);
    await new Promise(setImmediate);
    this.#inFlight.set(sessionId, inFlight - 1);
    const before = this.submitted.filter((other) => other.sessionId === sessionId);
    const repeat = before.findIndex((other) => other.message.messageId === message.messageId);
    if (repeat === -1) this.submitted.push({ sessionId, message });
    return { turnId: message.turnId, position: repeat === -1 ? before.length : repeat };
  }

  async removeMessage(sessionId: SessionId, messageId: MessageId): Promise<void> {
    this.#note("removeMessage", messageId);
    this.#reach(sessionId);
    this.removed.push(messageId);
  }

  readonly abandoned: SessionId[] = [];

  async abandon(sessionId: SessionId): Promise<void> {
    this.#note("abandon", sessionId);
    this.abandoned.push(sessionId);
    this.ended.add(sessionId);
  }

  async interrupt(sessionId: SessionId, request: InterruptTurn): Promise<void> {
    this.#note("interrupt", sessionId);
    this.#reach(sessionId);
    this.interrupts.push({ sessionId, request });
  }

  async endWait(sessionId: SessionId, wait: WaitEnded): Promise<void> {
    this.#note("endWait", wait.callId);
    this.#reach(sessionId);
    this.endedWaits.push({ sessionId, wait });
  }

  async close(sessionId: SessionId, _incarnation?: string): Promise<void> {
    this.#note("close", sessionId);
    this.#reach(sessionId);
    if (this.closes) await closeSession(this.#store.database, sessionId);
  }

  /** What `running` answers, and what was ended of it. */
  readonly runs: WorkflowRun[] = [];
  readonly endedRuns: WorkflowRun[] = [];

  async running(): Promise<readonly WorkflowRun[]> {
    this.#note("running", "");
    return this.runs;
  }

  async end(run: WorkflowRun): Promise<void> {
    this.#note("end", run.workflowId);
    this.endedRuns.push(run);
  }

  async progress(sessionId: SessionId): Promise<Progress> {
    this.#note("progress", sessionId);
    return this.snapshot;
  }

  /** Sessions whose workflow cannot go on. */
  readonly stuck = new Set<SessionId>();

  async isStuck(sessionId: SessionId): Promise<boolean> {
    this.#note("isStuck", sessionId);
    return this.stuck.has(sessionId);
  }

  async purge(sessionId: SessionId, incarnation?: string): Promise<void> {
    this.#note("purge", sessionId);
    const place = await findPlace(this.#store.database, sessionId);
    if (incarnation !== undefined && place?.incarnation !== incarnation) return;
    await purgeSession(this.#store.database, sessionId);
    await removeUnusedBlobs(this.#store.database, this.#store.blobs);
    this.started.delete(sessionId);
  }

  async runCommand(command: CommandKey): Promise<void> {
    this.#note("runCommand", command.callId);
    this.commands.push(command);
  }

  async stopIdle(key: IdleSandboxKey): Promise<void> {
    this.#note("stopIdle", key.sessionId);
  }

  async stopCommand({ callId }: CommandKey): Promise<void> {
    this.#note("stopCommand", callId);
    this.stopped.push(callId);
  }

  async workspace(request: WorkspaceRequest, key?: RequestKey): Promise<WorkspaceAnswer> {
    this.#note("workspace", request.path);
    this.asked.push({ request, key });
    const { transit } = this.#store;
    const root = `${request.sessionId}/`;
    if (request.operation === "download") {
      const order = Buffer.concat(await (await transit.open(request.transit)).toArray());
      this.orders.push(JSON.parse(order.toString()) as DownloadOrder);
    }
    const answer = this.answers.shift();
    if (answer) return answer;
    if (request.operation === "write") {
      const content = await (await transit.open(request.transit)).toArray();
      this.files.set(root + request.path, Buffer.concat(content));
      return { found: "written" };
    }
    const file = this.files.get(root + request.path);
    if (request.operation === "remove" && file) {
      this.files.delete(root + request.path);
      return { found: "removed" };
    }
    if (request.operation === "download") return { found: "downloaded", bytes: 1, sha256: "0".repeat(64) };
    if (file) return await this.#inTransit(request.operation === "archive" ? "archive" : "file", file);
    const folder = request.path === "" ? root : `${root}${request.path}/`;
    const inside = [...this.files].filter(([name]) => name.startsWith(folder));
    if (inside.length === 0 && request.path !== "") {
      return { found: "nothing", code: "NOT_FOUND", message: `there is no ${request.path} in the workspace` };
    }
    if (request.operation === "archive") return await this.#inTransit("archive", Buffer.from("an archive"));
    const files = inside.map(([name, content]) => ({
      path: name.slice(root.length),
      kind: "file",
      bytes: content.length,
      modifiedAt: 0,
    }));
    return await this.#inTransit(
      "folder",
      Buffer.from(JSON.stringify({ path: request.path, truncated: false, files })),
    );
  }

  async #inTransit(found: "file" | "folder" | "archive", content: Buffer): Promise<WorkspaceAnswer> {
    const { id, ...put } = await this.#store.transit.put(content);
    return { found, transit: id, ...put };
  }

  async serveTerminal(key: TerminalKey): Promise<void> {
    this.#note("serveTerminal", key.sessionId);
    this.terminals.push(key);
  }

  async check(): Promise<void> {
    this.#note("check", "");
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

export function idleProgress(): Progress {
  return {
    status: "idle",
    turn: null,
    running: [],
    waitingFor: null,
    waits: [],
    queue: [],
    steering: [],
    turns: 0,
    lastOutcome: null,
    usage: NO_USAGE,
    limits: { messagesWaiting: 100 },
  };
}
