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

interface Waiting {
  readonly pieces: readonly Uint8Array[];
  onAnswer(answer: Response): Response;
}

export class BodySplicer {
  readonly #name = `conversation:${randomUUID()}:`;
  readonly #waiting = new Map<string, Waiting>();
  readonly #send: Send;
  #count = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /**
   * Registers the pieces of a JSON array: each holds one or more elements, or nothing.
   * @param onAnswer Given the answer to the request before the SDK sees it.
   */
  splice(pieces: readonly Uint8Array[], onAnswer: Waiting["onAnswer"]): Splice {
    const marker = `${this.#name}${++this.#count}:`;
    this.#waiting.set(marker, { pieces, onAnswer });
    return { marker, [Symbol.dispose]: () => void this.#waiting.delete(marker) };
  }

  /** The client's `fetch`. */
  readonly fetch: typeof fetch = async (url, init = {}) => {
    const target = new URL(url instanceof Request ? url.url : url);
    const { body } = init;
    if (body === undefined || body === null) return await this.#send(target, init, []);
    if (typeof body !== "string") throw new TypeError("expected the request's body to be text");
    // The name is random and the quote before it is not escaped, so no text of a user or a tool can be taken for it.
    const start = body.indexOf(`"${this.#name}`);
    if (start < 0) return await this.#send(target, init, [Buffer.from(body)]);
    const end = body.indexOf('"', start + 1);
    const waiting = this.#waiting.get(body.slice(start + 1, end));
    if (waiting === undefined) throw new Error("a request holds the marker of a conversation that was released");
    const elements = waiting.pieces
      .filter((piece) => piece.length > 0)
      .flatMap((piece, i) => (i === 0 ? [piece] : [COMMA, piece]));
    const whole = [Buffer.from(`${body.slice(0, start)}[`), ...elements, Buffer.from(`]${body.slice(end + 1)}`)];
    return waiting.onAnswer(await this.#send(target, init, whole));
  };
}
