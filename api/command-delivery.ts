/**
 * Having committed commands run, and stopped: at once by the request that asks for it, and by the reconciler when that could
 * not be done, because Temporal was away, or because the API died in between. A repeat is harmless: a workflow goes by the row.
 *
 * A session has a share of the workers: what it asks for beyond that waits here, as rows, and nobody else waits for it.
 */
import { LIMITS } from "../contract/limits.ts";
import { mayBegin, type UntoldCommand, untoldCommands, waitingCommands } from "../store/commands.ts";
import { Reconciler } from "./reconciler.ts";
import { Rounds, type Tried } from "./rounds.ts";
import type { Reach } from "./session-workflow.ts";
import { isKind } from "./sessions.ts";

const STOP_MS = 1_000;

export class CommandDelivery implements AsyncDisposable {
  readonly #reach: Reach;
  readonly #onError: (error: unknown) => void;
  readonly #rounds: Rounds<UntoldCommand>;
  readonly #running = new Set<Promise<Tried>>();
  readonly #shares: Reconciler;
  /** What its share was told of, so that one that waits for a worker is not told of at each look. */
  #begun = new Set<string>();
  /** Sessions may have commands that wait for their share. True until a look has found none: others may have left some. */
  #isHolding = true;
  #seenVersion = -1;

  constructor(reach: Reach, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#onError = onError;
    this.#rounds = new Rounds({
      after: (after, limit) =>
        untoldCommands(reach.database, { before: Date.now() - LIMITS.undeliveredAfterMs, after: idIn(after), limit }),
      nameOf,
      work: (command) => this.#tell(command),
      // One that runs, or waits for a worker, is told of from time to time only.
      againMs: LIMITS.commandToldAgainMs,
      onError,
    });
    this.#shares = new Reconciler(() => this.#beginNext(), onError);
  }

  /** Comes back within LIMITS.startWaitMs, whether or not it was heard. One that waits for its share is told of later. */
  async deliver(command: UntoldCommand): Promise<void> {
    if (!command.isStopping && !(await mayBegin(this.#reach.database, command))) {
      this.#isHolding = true;
      return;
    }
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LIMITS.startWaitMs);
    await Promise.race([this.#tell(command), late.promise]);
    clearTimeout(timer);
  }

  /** Begins to look for commands that nobody tells of. */
  startReconciler(): void {
    this.#rounds.start(LIMITS.reconcileEveryMs);
    this.#shares.start(LIMITS.commandShareLookMs);
  }

  /** Stops trying. What was not told is a row, and the next process finds it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#shares[Symbol.dispose]();
    await Promise.race([
      Promise.allSettled([...this.#running, this.#shares.running, this.#rounds[Symbol.asyncDispose]()]),
      new Promise((resolve) => setTimeout(resolve, STOP_MS).unref()),
    ]);
  }

  /** Whatever has ended since the last look leaves its place to the next of its session. */
  async #beginNext(): Promise<void> {
    const { database } = this.#reach;
    const version = database.dataVersion();
    if (!this.#isHolding || version === this.#seenVersion) return;
    this.#seenVersion = version;
    const { due, isHolding } = await waitingCommands(database, LIMITS.commandsBegunAtOnce);
    this.#isHolding = isHolding;
    const before = this.#begun;
    this.#begun = new Set(due.map(({ callId }) => callId));
    const tell = due
      .filter(({ callId }) => !before.has(callId))
      .map((ids) => this.#tell({ ...ids, isStopping: false }));
    // Those that were not heard are found by the rounds.
    await Promise.all(tell);
  }

  #tell(command: UntoldCommand): Promise<Tried> {
    const telling = this.#try(command).finally(() => this.#running.delete(telling));
    this.#running.add(telling);
    return telling;
  }

  async #try(command: UntoldCommand): Promise<Tried> {
    try {
      await (command.isStopping ? this.#stop(command) : this.#run(command));
      return "done";
    } catch (error) {
      if (isKind(error, "unreachable")) return "away";
      if (!isKind(error, "unanswered")) this.#onError(error);
      return "failed";
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

/** A stop is another thing to tell than the command. */
function nameOf({ callId, isStopping }: UntoldCommand): string {
  return isStopping ? `${callId} stop` : callId;
}

function idIn(name: string): string {
  return name.split(" ")[0] ?? "";
}
