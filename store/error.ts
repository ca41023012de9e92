/** What the store throws when the world fails it, or when a writer has been overtaken. */

/** locked, full, failed: the store cannot be written now, a retry may help. corrupt: what is stored cannot be read. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly kind: "locked" | "full" | "failed" | "corrupt";

  constructor(kind: StoreError["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** What was to be written to is over or gone: whoever meets this must stop, and has written nothing. */
export class SupersededError extends Error {
  override readonly name = "SupersededError";
}

/** A newer attempt has the work: this one must stop, and has written nothing. It is no failure of the work. */
export class TakenOverError extends SupersededError {}
