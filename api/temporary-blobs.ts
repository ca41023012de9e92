/** Blobs that only carried the bytes of a look into a workspace: removed some time after their last use, unless an artifact has the same bytes. */
import { LIMITS } from "../contract/limits.ts";
import type { Store } from "../store/store.ts";

export class TemporaryBlobs implements Disposable {
  readonly #store: Pick<Store, "database" | "blobs">;
  readonly #onError: (error: unknown) => void;
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(store: Pick<Store, "database" | "blobs">, onError: (error: unknown) => void) {
    this.#store = store;
    this.#onError = onError;
  }

  /** Notes that the blob was used just now. Another use before its time is up gives it more. */
  used(sha256: string): void {
    clearTimeout(this.#timers.get(sha256));
    const timer = setTimeout(() => {
      this.#timers.delete(sha256);
      this.#remove(sha256).catch(this.#onError);
    }, LIMITS.temporaryBlobMs);
    timer.unref();
    this.#timers.set(sha256, timer);
  }

  /**
   * Not removed at once, because an upload of an artifact with the same bytes stores the blob a moment before it commits
   * the row that keeps it.
   */
  async #remove(sha256: string): Promise<void> {
    const { database, blobs } = this.#store;
    const kept = await database.read
      .selectFrom("blobs")
      .select("sha256")
      .where("sha256", "=", sha256)
      .executeTakeFirst();
    if (!kept) await blobs.remove(sha256);
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}
