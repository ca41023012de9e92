/** What the Modal SDK throws, as a SandboxError in words that a person can act on. */
import { SandboxError } from "./provider.ts";

/** The gRPC codes that we tell apart. */
const CODE = {
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  unavailable: 14,
  unauthenticated: 16,
} as const;
const WORDS_MAX = 300;

/** Errors are told apart by name: the SDK is only loaded when it is used, so its classes are not at hand. */
export function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.constructor.name === name;
}

export function isMissing(error: unknown): boolean {
  return isNamed(error, "NotFoundError") || codeOf(error) === CODE.notFound;
}

export function isTaken(error: unknown): boolean {
  return isNamed(error, "AlreadyExistsError") || codeOf(error) === CODE.alreadyExists;
}

/** Whether it is of no use to try the same again over another connection. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return (
    isNamed(error, "InvalidError") ||
    code === CODE.permissionDenied ||
    code === CODE.unauthenticated ||
    code === CODE.resourceExhausted
  );
}

/** `what` is what we tried, as in "Modal could not …". A SandboxError comes back as it is. */
export function modalError(error: unknown, what: string): SandboxError {
  if (error instanceof SandboxError) return error;
  const failed = (words: string) => new SandboxError("failed", words, { cause: error });
  const words = wordsOf(error);
  switch (codeOf(error)) {
    case CODE.unauthenticated:
    case CODE.permissionDenied:
      return failed(`Modal refused the token: check MODAL_TOKEN_ID and MODAL_TOKEN_SECRET of this worker (${words})`);
    case CODE.resourceExhausted:
      return failed(`Modal could not ${what}: the account's quota is used up (${words})`);
    case CODE.unavailable:
      return failed(`Modal could not ${what}: it cannot be reached (${words})`);
    case CODE.deadlineExceeded:
      return failed(`Modal could not ${what}: it did not answer in time`);
    default:
      return failed(`Modal could not ${what}: ${isLate(error) ? "it did not answer in time" : words}`);
  }
}

function isLate(error: unknown): boolean {
  return error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
}

function codeOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "number" ? error.code : undefined;
}

/** What it says, on one line and bounded; the path of a call says nothing to a person. */
function wordsOf(error: unknown): string {
  const said =
    typeof error === "object" && error !== null && "details" in error && typeof error.details === "string"
      ? error.details
      : error instanceof Error
        ? error.message
        : String(error);
  const line = said.replace(/\s+/g, " ").trim();
  return line.length > WORDS_MAX ? `${line.slice(0, WORDS_MAX)}…` : line || "no reason given";
}
