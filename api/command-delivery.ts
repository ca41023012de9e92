/**
 * Having committed commands run, and stopped: at once by the request that asks for it, and by the reconciler when that could
 * not be done, because Temporal was away, or because the API died in between. A repeat is harmless: a workflow goes by the row.
 */
import type { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type UntoldCommand, untoldCommands } from "../store/commands.ts";
import { Reconciler } from "./reconciler.ts";
import type { Reach } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

const STOP_MS = 1_000;

export class CommandDelivery implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #onError: (error: unknown) => void;
  readonly #reconciler: Reconciler;
  /** When a workflow was last told of a command, so that one that waits for a worker is not told of each second. */
  readonly #told = new Map<string, number>();
  readonly #running = new Set<Promise<void>>();
  #isOver = false;

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#onError = onError;
    this.#reconciler = new Reconciler(() => this.#reconcile(), onError);
  }

  /** Comes back within LIMITS.startWaitMs, whether or not it was heard. */
  async deliver(command: UntoldCommand): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LIMITS.startWaitMs);
    await Promise.race([this.#tell(command), late.promise]);
    clearTimeout(timer);
  }

  /** Begins to look for commands that nobody tells of. */
  startReconciler(): void {
    this.#reconciler.start(LIMITS.reconcileEveryMs);
  }

  /** Stops trying. What was not told is a row, and the next process finds it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#reconciler[Symbol.dispose]();
    await Promise.race([
      Promise.allSettled([...this.#running, this.#reconciler.running]),
      new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
    ]);
  }

  async #reconcile(): Promise<void> {
    const now = Date.now();
    const older = { than: now - LIMITS.undeliveredAfterMs, limit: LIMITS.commandsPerBeat };
    const commands = await untoldCommands(this.#reach.database, older);
    const open = new Set(commands.map(nameOf));
    for (const [name, at] of this.#told) {
      if (!open.has(name) && now - at > LIMITS.commandToldAgainMs) this.#told.delete(name);
    }
    const due = commands.filter((one) => now - (this.#told.get(nameOf(one)) ?? 0) > LIMITS.commandToldAgainMs).values();
    const take = async (): Promise<void> => {
      for (const command of due) if (!this.#isOver) await this.#tell(command);
    };
    await Promise.all(Array.from({ length: LIMITS.reconcileSessionsAtOnce }, take));
  }

  #tell(command: UntoldCommand): Promise<void> {
    const telling = this.#try(command).finally(() => this.#running.delete(telling));
    this.#running.add(telling);
    return telling;
  }

  async #try(command: UntoldCommand): Promise<void> {
    try {
      await (command.isStopping ? this.#stop(command) : this.#run(command));
      this.#told.set(nameOf(command), Date.now());
    } catch (error) {
      if (!isKind(error, "unreachable", "unanswered")) this.#onError(error);
    }
  }

  async #run({ sessionId, callId }: UntoldCommand): Promise<void> {
    await this.#reach.sessions.runCommand({ sessionId, callId });
  }

  /** A command whose workflow is gone is ended by another run of it, which finds in the row that it is to stop. */
  async #stop(command: UntoldCommand): Promise<void> {
    try {
      await this.#reach.sessions.stopCommand(command);
    } catch (error) {
      if (!isKind(error, "missing")) throw error;
      await this.#run(command);
    }
  }
}

function nameOf({ callId, isStopping }: { readonly callId: CallId; readonly isStopping: boolean }): string {
  return `${callId} ${isStopping ? "stop" : "run"}`;
}
