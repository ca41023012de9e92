/** The one error of the API's client: what went wrong, in one line that a person can act on. */
import { Problem } from "../contract/errors.ts";

/** `unreachable`: nobody answered. `refused`: the API said no. `foreign`: the answer is not one of this API. */
export type ClientErrorKind = "unreachable" | "refused" | "foreign";

export class ClientError extends Error {
  override readonly name = "ClientError";
  readonly kind: ClientErrorKind;
  /** The problem document, when the API refused. */
  readonly problem: Problem | undefined;

  constructor(kind: ClientErrorKind, message: string, options?: ErrorOptions & { readonly problem?: Problem }) {
    super(message, options);
    this.kind = kind;
    this.problem = options?.problem;
  }
}

const ERRORS_SHOWN = 5;

/** A problem document as one line: `400 INVALID_INPUT: detail (/agent/tools/0: message)`, nothing of it twice. */
export function problemLine(problem: Problem): string {
  const errors = (problem.errors ?? []).filter(({ path, message }) => !problem.detail.includes(`${path}: ${message}`));
  const shown = errors.slice(0, ERRORS_SHOWN).map(({ path, message }) => `${path || "/"}: ${message}`);
  if (errors.length > ERRORS_SHOWN) shown.push(`and ${errors.length - ERRORS_SHOWN} more`);
  const where = shown.length > 0 ? ` (${shown.join("; ")})` : "";
  return `${problem.status} ${problem.code}: ${problem.detail}${where}`;
}

/** The error for an answer that is not a success. */
export function refusal(status: number, text: string, baseUrl: string): ClientError {
  const read = Problem.safeParse(parseJson(text));
  if (read.success) return new ClientError("refused", problemLine(read.data), { problem: read.data });
  return new ClientError("foreign", `${baseUrl} answered ${status} without a problem document: is it a Perdure API?`);
}

/** Undefined for what is not JSON: no schema accepts that, so the error is made by the schema's caller. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Nothing listens there: says how to start it. */
export function unreachable(baseUrl: string, cause: unknown): ClientError {
  return new ClientError(
    "unreachable",
    `no Perdure API answers at ${baseUrl} (${reasonOf(cause)}): start it with \`npm start\` or \`perdure dev\`, ` +
      "or say where it is with --url",
    { cause },
  );
}

/** Why it failed, in the words of whoever knows: Node's fetch says "fetch failed" and hides the reason in a cause. */
export function reasonOf(error: unknown): string {
  const cause = innermost(error);
  if (!(cause instanceof Error)) return String(cause);
  return cause.message || codeOf(cause) || cause.name;
}

/** The code of what failed, such as ECONNREFUSED. */
export function codeOf(error: unknown): string | undefined {
  const cause = innermost(error);
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined;
}

function innermost(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? innermost(error.cause) : error;
}
