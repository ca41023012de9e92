/** The one error of the supervisor: why the stack cannot start, or cannot go on, in words a person can act on. */
export type StackErrorKind =
  | "held"
  | "port_taken"
  | "state"
  | "no_temporal"
  | "not_ready"
  | "gave_up"
  | "stopped"
  | "unusable";

export class StackError extends Error {
  override readonly name = "StackError";
  readonly kind: StackErrorKind;

  constructor(kind: StackErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
