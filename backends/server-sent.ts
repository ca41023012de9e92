/** Reads a stream of server-sent events into the JSON that each holds. */
import { jsonFault } from "../contract/bounded-json.ts";
import { LIMITS } from "../contract/limits.ts";
import { BackendError } from "./backend.ts";

export class ServerSentReader {
  readonly #decoder = new TextDecoder();
  /** Of the line that is not whole yet: joined once it is, for one that comes in thousands of pieces. */
  #rest: string[] = [];
  #restCharacters = 0;
  #data: string[] = [];
  #dataCharacters = 0;
  #isDone = false;

  /** The stream has said by its last line that nothing comes any more. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** An event has begun, and is not whole yet. */
  get isInside(): boolean {
    return this.#data.length > 0 || (this.#rest[0]?.startsWith("data") ?? false);
  }

  /** The events that these bytes complete: objects and lists, for nothing else says anything here. Throws SyntaxError when one holds no JSON. */
  *read(bytes: Uint8Array): Generator<object> {
    const text = this.#decoder.decode(bytes, { stream: true });
    this.#restCharacters += text.length;
    if (this.#restCharacters + this.#dataCharacters > LIMITS.replyCharactersMax) {
      const message = `the provider sent ${LIMITS.replyCharactersMax} characters without the end of an event`;
      throw new BackendError("INVALID_RESPONSE", message);
    }
    const isOpen = !/[\r\n]/.test(text) && !this.#rest.at(-1)?.endsWith("\r");
    this.#rest.push(text);
    if (isOpen) return;
    const lines = this.#rest.join("").split(/\r\n|\n|\r(?!$)/);
    this.#rest = [lines.pop() ?? ""];
    this.#restCharacters = this.#rest[0]?.length ?? 0;
    for (const line of lines) yield* this.#line(line);
  }

  /** What was left without its empty line: some servers end so. What is no whole event was cut, and says nothing. */
  *end(): Generator<object> {
    try {
      yield* this.#line(this.#rest.join("").trimEnd());
      yield* this.#line("");
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }

  *#line(line: string): Generator<object> {
    if (line.startsWith("data:")) {
      this.#data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
      this.#dataCharacters += line.length + 1;
    } else if (line === "" && this.#data.length > 0) {
      const data = this.#data.join("\n");
      this.#data = [];
      this.#dataCharacters = 0;
      const isLast = data.trim() === "[DONE]";
      this.#isDone ||= isLast;
      // An event without data says nothing: some gateways keep a connection open by it.
      const event: unknown = isLast || data.trim() === "" ? undefined : parsed(data);
      if (typeof event === "object" && event !== null) yield event;
    }
  }
}

/** Throws SyntaxError, also of what would keep the parser busy for seconds. */
function parsed(data: string): unknown {
  const fault = jsonFault(data);
  if (fault !== undefined) throw new SyntaxError(fault);
  return JSON.parse(data);
}
