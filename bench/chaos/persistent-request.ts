/** Requests that do not give up: sent again until something other than a failure of the server, or of the way to it, answers. */
import { setTimeout as delay } from "node:timers/promises";

/** It waited in vain. */
export class HangError extends Error {
  override readonly name = "HangError";
}

/** The API answered what it must not answer, however the weather is. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

export interface PersistentRequest {
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Its Idempotency-Key. */
  readonly key?: string;
  /** Statuses that are an answer, too, besides those below 300. */
  readonly accepts?: readonly number[];
}

export interface Patience {
  /** When it ends; looked at after each failure, because each kill makes it longer. */
  at(): number;
  /** Ends the repeating without an answer. */
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly bytes: Uint8Array;
  /** Times that it was sent in vain before. */
  readonly failures: number;
}

/** What says: not now. A 500 is not among them, it would be a bug. */
const AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const REQUEST_TIMEOUT_MS = 15_000;
const REPEAT_MS = 100;

/**
 * Sends the request until it is answered; undefined when the signal ended that.
 * @throws AnswerError when the answer is one that must not be, HangError when the patience is at its end.
 */
export async function askPersistently(request: PersistentRequest, patience: Patience): Promise<Answer | undefined> {
  const what = `${request.method} ${new URL(request.url).pathname}`;
  const isOver = (): boolean => patience.signal?.aborted === true;
  let last = "nothing";
  for (let failures = 0; !isOver(); failures++) {
    try {
      const { status, bytes } = await send(request, patience.signal);
      if (status < 300 || request.accepts?.includes(status)) return { status, bytes, failures };
      last = `${status}: ${textOf(bytes).slice(0, 400)}`;
      if (!AGAIN.has(status)) throw new AnswerError(`${what} answered ${last}`);
    } catch (error) {
      if (error instanceof AnswerError) throw error;
      if (isOver()) return undefined;
      last = causeOf(error);
    }
    if (Date.now() > patience.at()) throw new HangError(`${what} was repeated in vain; its last answer: ${last}`);
    await delay(REPEAT_MS, undefined, { signal: patience.signal }).catch(() => undefined);
  }
  return undefined;
}

async function send(
  { method, url, headers, body, key }: PersistentRequest,
  signal: AbortSignal | undefined,
): Promise<{ readonly status: number; readonly bytes: Uint8Array }> {
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  const response = await fetch(url, {
    method,
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: {
      ...headers,
      ...(body !== undefined && { "content-type": "application/json" }),
      ...(key !== undefined && { "idempotency-key": key }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  // The server may die in the middle of its answer: that is no answer.
  return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) };
}

/** An answer's JSON; undefined of an empty one. */
export function jsonOf(answer: Answer | undefined): unknown {
  const text = answer === undefined ? "" : textOf(answer.bytes);
  return text === "" ? undefined : JSON.parse(text);
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** fetch() says no more than that it failed; why is in its cause. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
