/** The one classification of everything that can go wrong between us and a provider; nobody else looks at vendor errors. */

import { cutText } from "../../contract/cut-text.ts";
import type { TurnCode } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";

export interface ErrorContext {
  readonly model: string;
  /** Where the requests go, as shown to people: without path, user or password. */
  readonly origin: string;
  /** Never shown. */
  readonly apiKey: string | undefined;
  /** The variable that a person sets the key with. */
  readonly keyVariable?: string;
}

/** What a provider says about its failure, on whichever way it says it. */
export interface ProviderFailure {
  readonly status?: number | undefined;
  readonly code?: string | undefined;
  readonly type?: string | undefined;
  readonly message?: string | undefined;
  readonly headers?: Headers | undefined;
  /** What else the body holds, for wishes in it. */
  readonly details?: string | undefined;
}

interface Verdict {
  readonly code: TurnCode;
  readonly retryable: boolean;
  readonly what: string;
}

const OVERFLOW =
  /context[ _-](window|length)|maximum context|prompt is too long|too many (input )?tokens|exceeds? the (model|context)/i;
const TIMEOUTS = new Set([
  ...["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT", "ETIMEDOUT", "ESOCKETTIMEDOUT"],
]);

/** Makes the error of a step out of whatever was thrown. */
export function toBackendError(error: unknown, context: ErrorContext): BackendError {
  const own = ownCause(error);
  if (own !== undefined) return own;
  const failure = asProviderFailure(error);
  if (failure !== undefined) return providerError(failure, context);
  const codes = causes(error);
  const reason = codes.codes[0] ?? codes.message;
  if (codes.codes.some((code) => TIMEOUTS.has(code)) || codes.names.includes("APIConnectionTimeoutError")) {
    return new BackendError("TIMEOUT", `the model provider at ${context.origin} did not answer in time (${reason})`);
  }
  const isConnection = codes.names.some((name) => name.startsWith("APIConnection"));
  if (
    isConnection ||
    codes.codes.some((code) => /^(E[A-Z_]+|UND_ERR_|Z_|CERT_|DEPTH_|SELF_|UNABLE_)/.test(code)) ||
    codes.terminated
  ) {
    const message = `the connection to the model provider at ${context.origin} failed (${redact(reason, context)})`;
    return new BackendError("NETWORK", message);
  }
  if (codes.names.includes("SyntaxError")) {
    return new BackendError(
      "PROVIDER_ERROR",
      `the model provider at ${context.origin} sent a stream that is not valid JSON`,
    );
  }
  if (codes.names.includes("UserError")) {
    return new BackendError("INVALID_INPUT", `the request cannot be made: ${redact(codes.message, context)}`);
  }
  const message = `the model call failed in a way that is not known: ${redact(codes.message, context)}`;
  return new BackendError("PROVIDER_ERROR", message, { cause: error });
}

/** Makes the error of a step out of what a provider said. */
export function providerError(failure: ProviderFailure, context: ErrorContext): BackendError {
  const verdict = judge(failure, context);
  const said = redact(failure.message ?? failure.code ?? "", context);
  const shouldRetry = failure.headers?.get("x-should-retry");
  const retryable = shouldRetry === "true" || (shouldRetry !== "false" && verdict.retryable);
  const message = said === "" ? verdict.what : `${verdict.what}: ${said}`;
  return new BackendError(verdict.code, message, { retryable, retryAfterMs: wishOf(failure) });
}

/** What the body of an error says, or an event in the middle of a stream: in an `error` of its own or beside it, as a text or in parts. */
export function saidIn(body: unknown): ProviderFailure {
  if (typeof body === "string") return { message: body };
  if (typeof body !== "object" || body === null) return {};
  if ("error" in body && body.error) return saidIn(body.error);
  if (Array.isArray(body)) return saidIn(body[0]);
  const { code, type, message, details } = body as Readonly<Record<string, unknown>>;
  return {
    ...(typeof details === "object" ? { details: JSON.stringify(details).slice(0, DETAILS_CHARACTERS) } : {}),
    ...(typeof code === "string" || typeof code === "number" ? { code: String(code) } : {}),
    ...(typeof type === "string" ? { type } : {}),
    ...(typeof message === "string" ? { message } : {}),
  };
}

const DETAILS_CHARACTERS = 4_000;

/** The error of a reply that ended before the provider had said that it is whole. */
export function brokenStream(context: ErrorContext): BackendError {
  return new BackendError("NETWORK", `the stream from ${context.origin} ended before the reply was complete`);
}

function judge(failure: ProviderFailure, context: ErrorContext): Verdict {
  const name = `${failure.code ?? ""} ${failure.type ?? ""}`;
  const words = failure.message ?? "";
  // Some gateways put the status of their own provider into the code.
  const status = failure.status ?? (/^[45]\d\d$/.test(failure.code ?? "") ? Number(failure.code) : undefined);
  const at = status === undefined ? "" : ` (${status})`;
  const verdict = (code: TurnCode, retryable: boolean, what: string): Verdict => ({ code, retryable, what: what + at });
  const isQuota = /insufficient_quota|billing/.test(name) || status === 402;
  if (isQuota) return verdict("RATE_LIMIT", false, "the account at the model provider has no quota left");
  const isRefused = status === undefined || status === 400 || status === 413 || status === 422;
  if (/context_length_exceeded/.test(name) || (isRefused && OVERFLOW.test(words))) {
    return verdict("CONTEXT_OVERFLOW", false, `the conversation does not fit the model ${context.model}`);
  }
  if (status === 503 || status === 529 || /overloaded|slow_down/.test(name)) {
    return verdict("MODEL_OVERLOADED", true, `the model ${context.model} is overloaded`);
  }
  if (status === 429 || /rate_limit/.test(name)) {
    return verdict("RATE_LIMIT", true, "the model provider limits the rate of requests");
  }
  if (status === 404 || /model_not_found|deployment_?not_?found/i.test(name)) {
    return verdict("MODEL_NOT_FOUND", false, `the provider at ${context.origin} has no model ${context.model}`);
  }
  if (status === undefined) return inStream(name);
  if (status === 401) {
    const variable = context.keyVariable ?? "OPENAI_API_KEY";
    return verdict("AUTH_INVALID", false, `the model provider refuses the key; check ${variable}`);
  }
  if (status < 400) return verdict("PROVIDER_NOT_FOUND", false, elsewhere(failure, context));
  return byStatus(status, verdict);
}

/** A redirect is not followed: the request holds a key and a conversation, and is meant for one address. */
function elsewhere({ headers }: ProviderFailure, { origin }: ErrorContext): string {
  const location = headers?.get("location") ?? "";
  const to = URL.canParse(location, origin) ? ` to ${new URL(location, origin).origin}` : "";
  return `${origin} sends requests on${to}, which is not followed; check the provider's base URL`;
}

function byStatus(status: number, verdict: (code: TurnCode, retryable: boolean, what: string) => Verdict): Verdict {
  switch (status) {
    case 403:
      return verdict("PERMISSION_DENIED", false, "the key may not use this model or this provider");
    case 408:
      return verdict("TIMEOUT", true, "the model provider timed out");
    case 409:
      return verdict("PROVIDER_ERROR", true, "the model provider reports a conflict");
    default:
      if (status >= 500) return verdict("PROVIDER_ERROR", true, "the model provider has an error of its own");
      return verdict("INVALID_INPUT", false, "the model provider refuses the request");
  }
}

/** A failure that arrived inside a stream has no status, only a name. */
function inStream(name: string): Verdict {
  if (/invalid|unsupported|image_|policy|_too_|empty_/.test(name)) {
    return { code: "INVALID_INPUT", retryable: false, what: "the model provider refuses the request" };
  }
  if (/timeout/.test(name)) return { code: "TIMEOUT", retryable: true, what: "the model provider timed out" };
  return { code: "PROVIDER_ERROR", retryable: true, what: "the model provider failed while it answered" };
}

function asProviderFailure(error: unknown): ProviderFailure | undefined {
  if (!(error instanceof Error)) return undefined;
  const { status, code, type, headers, error: body } = error as Error & Record<string, unknown>;
  if (typeof status !== "number" && body === undefined) return undefined;
  const said = saidIn(body);
  return {
    status: typeof status === "number" ? status : undefined,
    code: typeof code === "string" || typeof code === "number" ? String(code) : undefined,
    type: typeof type === "string" ? type : undefined,
    // The SDK's words for an answer that has none.
    message: said.message ?? error.message.replace(/^\d{3} (status code \(no body\))?/, ""),
    details: said.details,
    headers: headers instanceof Headers ? headers : undefined,
  };
}

const CAUSES_MAX = 6;

/** Our own error, also when the SDK has wrapped it in one of its own. */
function ownCause(error: unknown): BackendError | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && current instanceof Error; depth++) {
    if (current instanceof BackendError) return current;
    current = current.cause;
  }
  return undefined;
}

function causes(error: unknown): { codes: string[]; names: string[]; message: string; terminated: boolean } {
  const found = { codes: [] as string[], names: [] as string[], message: String(error), terminated: false };
  if (error instanceof Error) found.message = error.message;
  let current: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && current instanceof Error; depth++) {
    const { code } = current as { code?: unknown };
    if (typeof code === "string") found.codes.push(code);
    found.names.push(current.constructor.name, current.name);
    found.terminated ||= current.message === "terminated" || current.message === "fetch failed";
    current = current.cause;
  }
  return found;
}

/** The provider's wish in milliseconds: in a header, else in its words (`try again in 1m2.5s`), else in the details (Google's `"retryDelay": "2s"`). */
function wishOf({ headers, message = "", details = "" }: ProviderFailure): number | undefined {
  const told = retryAfterMs(headers);
  if (told !== undefined) return told;
  const said = /(?:try again|retry)\s+(?:in|after)\s+(?=\d)/i.exec(message);
  if (said) return spanMs(message.slice(said.index + said[0].length));
  const [, delay] = /"retryDelay":\s?"([^"]{1,20})"/.exec(details) ?? [];
  return delay === undefined ? undefined : spanMs(delay);
}

/** A span of time at the beginning of a text: numbers with units. */
function spanMs(text: string): number | undefined {
  const part = /\s*(\d[\d.]{0,9})\s?(milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)(?![a-z])/iy;
  let ms: number | undefined;
  for (let found = part.exec(text); found !== null; found = part.exec(text)) {
    ms = (ms ?? 0) + Number(found[1]) * unitMs(found[2]?.toLowerCase() ?? "");
  }
  return ms !== undefined && Number.isFinite(ms) ? Math.ceil(ms) : undefined;
}

function unitMs(unit: string): number {
  if (unit === "ms" || unit.startsWith("mil")) return 1;
  if (unit.startsWith("s")) return 1_000;
  return unit.startsWith("m") ? 60_000 : 3_600_000;
}

/** `retry-after-ms`, or `retry-after` in seconds or as an HTTP date. */
export function retryAfterMs(headers: Headers | undefined): number | undefined {
  const precise = Number(headers?.get("retry-after-ms") ?? Number.NaN);
  if (Number.isFinite(precise) && precise >= 0) return Math.ceil(precise);
  const text = headers?.get("retry-after");
  if (text === null || text === undefined || text === "") return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return seconds < 0 ? undefined : Math.ceil(seconds * 1000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** A provider's words as one line of bounded length, without anything that looks like a key. */
export function redact(text: string, context: ErrorContext): string {
  const key = context.apiKey ?? "";
  const line = (key.length >= 4 ? text.replaceAll(key, "[key]") : text)
    .slice(0, LIMITS.providerWordsMax * 8)
    .toWellFormed()
    .replace(/<[^>]*>/g, " ")
    .replace(/\b(?:sk|rk|pk|key|gsk|xai)-[\w*-]{6,}/gi, "[key]")
    .replace(/\bBearer\s+[\w.~+/*=-]+/gi, "Bearer [key]")
    .replace(/\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g, "[key]")
    .replace(/[\s\p{Cc}]+/gu, " ")
    .trim();
  return line.length > LIMITS.providerWordsMax ? `${cutText(line, LIMITS.providerWordsMax)}…` : line;
}
