/** Puts the calls of a reply together from the pieces of the Chat Completions wire: which piece belongs to which call each server tells in its own way. */
import { argumentsIn, isWholeJson, place, type Raw, record, word } from "./raw.ts";
import { NAME_CHARACTERS, type OpenBlock, type Reply } from "./reply.ts";

/** A call while its pieces arrive. Its block begins with its arguments, when the name is whole. */
interface OpenCall {
  readonly id: string | undefined;
  /** Undefined until a piece has said one, even an empty one. */
  name: string | undefined;
  block: OpenBlock | undefined;
  /** Arguments that came as an object: they count when no piece came as text. */
  whole: string | undefined;
}

export class ChatCalls {
  readonly #reply: Reply;
  readonly #calls: OpenCall[] = [];
  /** By index; by the place in their list where they have none. */
  readonly #callAt = new Map<number, OpenCall>();

  constructor(reply: Reply) {
    this.#reply = reply;
  }

  get isEmpty(): boolean {
    return this.#calls.length === 0;
  }

  /** Whether each has arguments that are whole, or none. */
  get areWhole(): boolean {
    return this.#calls.every((call) => {
      const written = writtenOf(call);
      return written.trim() === "" || isWholeJson(written);
    });
  }

  /** Whether one has no name: then a part of the stream is missing. */
  get isTorn(): boolean {
    return this.#calls.some(({ name }) => name === undefined);
  }

  /** @param at The piece's place in its list. */
  read(piece: Raw, at: number): void {
    const its = record(piece["function"]);
    // Some leave out the envelope.
    const said = its["name"] ?? piece["name"];
    const name = word(said);
    const given = its["arguments"] ?? piece["arguments"];
    const written = argumentsIn(given);
    const call = this.#callOf({ index: place(piece["index"]) ?? at, id: word(piece["id"]), name, written });
    // A name comes whole, or in pieces, or whole with every piece, depending on the server.
    if (typeof said === "string") call.name ??= "";
    const isGrowing = call.block === undefined && (call.name ?? "").length < NAME_CHARACTERS;
    if (isGrowing && name !== "" && name !== call.name) call.name += name;
    if (written === "") return;
    call.block ??= this.#reply.start("tool_call", call.name);
    if (typeof given === "object") call.whole = written;
    else this.#reply.grow(call.block, written);
  }

  complete(): void {
    for (const call of this.#calls) {
      const block = call.block ?? this.#reply.start("tool_call", call.name);
      this.#reply.completeCall(block, { name: call.name ?? "", arguments: writtenOf(call), id: call.id });
    }
  }

  #callOf(piece: {
    readonly index: number;
    readonly id: string;
    readonly name: string;
    readonly written: string;
  }): OpenCall {
    const { index, id } = piece;
    const known = this.#callAt.get(index);
    if (known !== undefined && !isAnother(known, piece)) return known;
    // The blocks keep the order of the calls, also when the one before this has no arguments.
    for (const earlier of this.#calls) earlier.block ??= this.#reply.start("tool_call", earlier.name);
    const call: OpenCall = { id: id || undefined, name: undefined, block: undefined, whole: undefined };
    this.#callAt.set(index, call);
    this.#calls.push(call);
    return call;
  }
}

/**
 * Some servers give all parallel calls the same index: then a new id begins a new call, or, where there are no ids, a name
 * behind arguments that are whole. Others give each piece of a call an id of its own: such a piece has no name.
 */
function isAnother(
  known: OpenCall,
  { id, name, written }: { readonly id: string; readonly name: string; readonly written: string },
): boolean {
  if (name === "") return false;
  if (id !== "" && known.id !== undefined) return id !== known.id;
  const before = writtenOf(known);
  if (before === "" || !isWholeJson(before)) return false;
  return name !== known.name || (written !== "" && before !== "{}" && written !== before);
}

/** Some gateways send empty arguments first and the real ones after them. */
function writtenOf({ whole, block }: OpenCall): string {
  const text = block?.text || (whole ?? "");
  return text.startsWith("{}{") ? text.slice(2) : text;
}
