/** A provider's answer before it is read as a stream of events: one that is no such stream is told in the provider's own words. */
import { jsonFault } from "../../contract/bounded-json.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";
import { type ErrorContext, providerError, redact, saidIn } from "./errors.ts";

export interface Watch {
  readonly context: ErrorContext;
  /** Hears of all bytes of a stream as they come, those that hold no event included: too many of those end it. */
  heard(bytes: number): void;
}

/** Of an answer that is looked at for what it says. */
const SAID_CHARACTERS = LIMITS.providerWordsMax * 8;

/**
 * The same answer. Where it is said to be fine and is a document, or nothing at all, it fails with BackendError; where it
 * is an error it ends after as much of it as anybody reads. What it is called does not count: many streams are misnamed.
 */
export function watched(response: Response, { context, heard }: Watch): Response {
  const { status, headers, ok, body } = response;
  if (body === null) {
    if (!ok) return response;
    throw new BackendError("PROVIDER_ERROR", `${context.origin} answered without a body (${status})`);
  }
  return new Response(body.pipeThrough(ok ? eventsOnly(context, heard) : failureOnly()), { status, headers });
}

/** What a provider says in an answer that is an error. */
export async function errorIn(response: Response, context: ErrorContext): Promise<BackendError> {
  const { status, headers } = response;
  const said = await beginningOf(response, SAID_CHARACTERS);
  return providerError({ status, headers, ...(failureIn(said) ?? { message: said }) }, context);
}

/** Its text, as far as that is wanted. */
export async function beginningOf(response: Response, characters: number): Promise<string> {
  const decoder = new TextDecoder();
  const pieces: string[] = [];
  let length = 0;
  for await (const bytes of response.body ?? []) {
    const piece = decoder.decode(bytes, { stream: true });
    pieces.push(piece);
    length += piece.length;
    if (length > characters) break;
  }
  return pieces.join("").slice(0, characters);
}

function eventsOnly(context: ErrorContext, heard: Watch["heard"]): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  let isDocument: boolean | undefined;
  let said = "";
  return new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      heard(bytes.length);
      isDocument ??= beginsDocument(bytes);
      if (isDocument === true) said += decoder.decode(bytes, { stream: true });
      else controller.enqueue(bytes);
      if (said.length > SAID_CHARACTERS) controller.error(noStream(said, context));
    },
    flush(controller) {
      if (isDocument === true) controller.error(noStream(said, context));
    },
  });
}

/** As much of it as anybody reads. Of a list, as Google sends it, the first: the SDK knows no other form. */
function failureOnly(): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder();
  let said = "";
  const end = (controller: TransformStreamDefaultController<Uint8Array>): void => {
    controller.enqueue(Buffer.from(/^\s*\[/.test(said) ? firstOf(said) : said));
  };
  return new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      said += decoder.decode(bytes, { stream: true });
      if (said.length <= SAID_CHARACTERS) return;
      end(controller);
      controller.terminate();
    },
    flush: end,
  });
}

function firstOf(list: string): string {
  if (jsonFault(list) !== undefined) return list;
  try {
    const [first] = JSON.parse(list) as readonly unknown[];
    return JSON.stringify(first) ?? list;
  } catch {
    return list;
  }
}

const SPACE = new Set([...Buffer.from(" \t\r\n"), 0xef, 0xbb, 0xbf]);
const DOCUMENTS = new Set(Buffer.from("{[<"));

/** JSON or a web page: no line of a stream of events begins so. Undefined while there is nothing but space. */
function beginsDocument(bytes: Uint8Array): boolean | undefined {
  const first = bytes.find((byte) => !SPACE.has(byte));
  return first === undefined ? undefined : DOCUMENTS.has(first);
}

function noStream(said: string, context: ErrorContext): BackendError {
  const { origin } = context;
  if (said.trimStart().startsWith("<")) {
    // Perhaps of something on the way to it, and only for a moment.
    const message = `${origin} answered with a web page where a stream of events was asked for; check the provider's base URL`;
    return new BackendError("NETWORK", message);
  }
  const failure = failureIn(said);
  if (failure !== undefined) return providerError(failure, context);
  return new BackendError(
    "INVALID_RESPONSE",
    `${origin} answered with a document where a stream of events was asked for: ${redact(said, context)}`,
  );
}

function failureIn(said: string): ReturnType<typeof saidIn> | undefined {
  if (jsonFault(said) !== undefined) return undefined;
  try {
    const failure = saidIn(JSON.parse(said));
    return failure.message === undefined && failure.code === undefined ? undefined : failure;
  } catch {
    return undefined;
  }
}
