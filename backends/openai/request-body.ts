/**
 * Puts the conversation into a request's body as bytes, so that the SDK never sees it.
 *
 * Given to the SDK as objects, a conversation is converted, walked through and turned into text anew at each step,
 * which costs more with each step. So the SDK builds the request around a marker, and the client's `fetch` (a
 * documented option of it) puts bytes that were made once per message in the marker's place, without a copy.
 */
import { randomUUID } from "node:crypto";
import type { Send } from "./connection.ts";

const COMMA = Buffer.from(",");

/** One conversation on its way: the text that stands for it, and the release of its bytes after the request. */
export interface Splice extends Disposable {
  readonly marker: string;
}

export class BodySplicer {
  readonly #name = `conversation:${randomUUID()}:`;
  readonly #waiting = new Map<string, readonly Uint8Array[]>();
  readonly #send: Send;
  #count = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Registers the pieces of a JSON array: each holds one or more elements, or nothing. */
  splice(pieces: readonly Uint8Array[]): Splice {
    const marker = `${this.#name}${++this.#count}:`;
    this.#waiting.set(marker, pieces);
    return { marker, [Symbol.dispose]: () => void this.#waiting.delete(marker) };
  }

  /** The client's `fetch`. */
  readonly fetch: typeof fetch = async (url, init = {}) => {
    const target = new URL(url instanceof Request ? url.url : url);
    const { body } = init;
    if (body === undefined || body === null) return await this.#send(target, init, []);
    if (typeof body !== "string") throw new TypeError("expected the request's body to be text");
    return await this.#send(target, init, this.#pieces(body));
  };

  #pieces(body: string): readonly Uint8Array[] {
    // The name is random and the quote before it is not escaped, so no text of a user or a tool can be taken for it.
    const start = body.indexOf(`"${this.#name}`);
    if (start < 0) return [Buffer.from(body)];
    const end = body.indexOf('"', start + 1);
    const pieces = this.#waiting.get(body.slice(start + 1, end));
    if (pieces === undefined) throw new Error("a request holds the marker of a conversation that was released");
    const elements = pieces
      .filter((piece) => piece.length > 0)
      .flatMap((piece, i) => (i === 0 ? [piece] : [COMMA, piece]));
    return [Buffer.from(`${body.slice(0, start)}[`), ...elements, Buffer.from(`]${body.slice(end + 1)}`)];
  }
}
