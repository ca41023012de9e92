/** Reads a stream of server-sent events into the JSON that each holds. */
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";

export class ServerSentReader {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #data: string[] = [];

  /** The events that these bytes complete. Throws SyntaxError when one holds no JSON. */
  *read(bytes: Uint8Array): Generator<unknown> {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    if (this.#rest.length > LIMITS.replyCharactersMax) {
      throw new BackendError(
        "INVALID_RESPONSE",
        `the provider sent a line of over ${LIMITS.replyCharactersMax} characters`,
      );
    }
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) yield* this.#line(line);
  }

  /** What was left without its empty line: some servers end so. */
  *end(): Generator<unknown> {
    yield* this.#line(this.#rest);
    yield* this.#line("");
  }

  *#line(line: string): Generator<unknown> {
    if (line.startsWith("data:")) {
      this.#data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
    } else if (line === "" && this.#data.length > 0) {
      const data = this.#data.join("\n");
      this.#data = [];
      if (data !== "[DONE]") yield JSON.parse(data) as unknown;
    }
  }
}
