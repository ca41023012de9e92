/**
 * Puts the conversation into a request's body as bytes, so that the SDK never sees it.
 *
 * Given to the SDK as objects, a conversation is converted, walked through and turned into text anew at each step,
 * which costs more with each step. So the SDK builds the request around a marker, and the client's `fetch` (a
 * documented option of it) puts bytes that were made once per message in the marker's place.
 */
import { randomUUID } from "node:crypto";

const COMMA = Buffer.from(",");

/** One conversation on its way: the text that stands for it, and the release of its bytes after the request. */
export interface Splice extends Disposable {
  readonly marker: string;
}

export class BodySplicer {
  readonly #name = `conversation:${randomUUID()}:`;
  readonly #waiting = new Map<string, readonly Uint8Array[]>();
  #count = 0;

  /** Registers the pieces of a JSON array: each holds one or more elements, or nothing. */
  splice(pieces: readonly Uint8Array[]): Splice {
    const marker = `${this.#name}${++this.#count}:`;
    this.#waiting.set(marker, pieces);
    return { marker, [Symbol.dispose]: () => void this.#waiting.delete(marker) };
  }

  /** The client's `fetch`. */
  readonly fetch: typeof fetch = (url, init) => {
    const body = init?.body;
    if (typeof body !== "string") return fetch(url, init);
    // The name is random and the quote before it is not escaped, so no text of a user or a tool can be taken for it.
    const start = body.indexOf(`"${this.#name}`);
    if (start < 0) return fetch(url, init);
    const end = body.indexOf('"', start + 1);
    const pieces = this.#waiting.get(body.slice(start + 1, end));
    if (pieces === undefined) throw new Error("a request holds the marker of a conversation that was released");
    return fetch(url, { ...init, body: assemble(body.slice(0, start), pieces, body.slice(end + 1)) });
  };
}

function assemble(before: string, pieces: readonly Uint8Array[], after: string): Uint8Array<ArrayBuffer> {
  const head = Buffer.from(`${before}[`);
  const tail = Buffer.from(`]${after}`);
  let size = head.length + tail.length;
  for (const piece of pieces) size += piece.length + 1;
  const whole = new Uint8Array(new ArrayBuffer(size));
  let at = 0;
  const add = (bytes: Uint8Array): void => {
    whole.set(bytes, at);
    at += bytes.length;
  };
  add(head);
  let first = true;
  for (const piece of pieces) {
    if (piece.length === 0) continue;
    if (!first) add(COMMA);
    first = false;
    add(piece);
  }
  add(tail);
  return whole.subarray(0, at);
}
