/** Where a call or a command was begun, so that it never runs a second time in a sandbox that took the place of a lost one. */
import type { SessionId } from "../contract/ids.ts";
import type { Sandbox } from "../sandbox/provider.ts";
import type { Database } from "../store/database.ts";
import { hasLostSince, sessionOfSandbox } from "../store/sandboxes.ts";

export interface BegunWork {
  readonly database: Database;
  readonly sessionId: SessionId;
  /** 1 in the first attempt. */
  readonly epoch: number;
  /** As its row has it. */
  readonly generation: number;
  /** Writes it to its row, under its epoch. */
  readonly note: (generation: number) => Promise<void>;
}

/**
 * The generation of the sandbox that the work was begun in, as its row says: the newest when its first attempt began, which
 * is the one that it runs in unless that has to be made first. 0: it was begun in none.
 */
export class BegunPlace {
  readonly #work: BegunWork;
  #generation: number;

  constructor(work: BegunWork) {
    this.#work = work;
    this.#generation = work.generation;
  }

  /** The sandbox has to be made, so nothing is begun yet: should this attempt be lost now, the next one may begin it. */
  async leave(): Promise<void> {
    if (this.#work.epoch === 1) await this.#note(0);
  }

  /** Whether an attempt before this one began it in a sandbox that is lost: under the same id it would run again in this one. */
  async mayHaveRunBefore(sandbox: Sandbox): Promise<boolean> {
    const { generation } = sessionOfSandbox(sandbox.id);
    if (generation === this.#generation) return false;
    const { database, sessionId, epoch } = this.#work;
    if (epoch > 1 && this.#generation > 0) return await hasLostSince(database.read, sessionId, this.#generation);
    await this.#note(generation);
    return false;
  }

  async #note(generation: number): Promise<void> {
    if (generation === this.#generation) return;
    await this.#work.note(generation);
    this.#generation = generation;
  }
}
