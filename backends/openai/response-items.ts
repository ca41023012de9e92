/**
 * The items of a reply on the Responses wire. OpenAI names and numbers them in each event; gateways leave events, names and
 * numbers out, number all of them alike, or give the finished response other names. What was streamed is the reply all the same:
 * an item's last word counts where it has one, else its pieces.
 */
import { argumentsIn, isWholeJson, list, type Raw, record, type Said, saidParts, word } from "./raw.ts";
import type { OpenBlock, Reply } from "./reply.ts";

/** Where an event says that it belongs. */
export interface At {
  readonly id: string;
  readonly index: number | undefined;
  /** Of a message's content. */
  readonly part: number;
}

type Kind = OpenBlock["type"];

interface Item {
  readonly kind: Kind;
  readonly ids: Set<string>;
  readonly index: number | undefined;
  /** A message has one for each part of its content, all others have one. */
  readonly blocks: Map<number, { readonly block: OpenBlock; isDone: boolean }>;
  /** Undefined until an event has said one, even an empty one. */
  name: string | undefined;
  callId: string;
}

export class ResponseItems {
  readonly #reply: Reply;
  readonly #items: Item[] = [];

  constructor(reply: Reply) {
    this.#reply = reply;
  }

  /** Whether each call has arguments that are whole, or none. */
  get areWhole(): boolean {
    return this.#items.every(({ kind, blocks }) => {
      const written = blocks.get(0)?.block.text.trim() ?? "";
      return kind !== "tool_call" || written === "" || isWholeJson(written);
    });
  }

  /** Whether a call has no name: then a part of the stream is missing. */
  get isTorn(): boolean {
    return this.#items.some(({ kind, name }) => kind === "tool_call" && name === undefined);
  }

  /** A text begins with its first piece, so that an empty one never shows; thinking and calls begin at once. */
  added(at: At, raw: Raw): void {
    const kind = kindOf(raw);
    if (kind === undefined) return;
    const item = this.#itemOf(at, kind, raw);
    if (kind !== "text") this.#blockOf(item, 0);
  }

  grow(at: At, kind: Kind, text: string): void {
    if (text === "") return;
    const one = this.#blockOf(this.#itemOf(at, kind), kind === "text" ? at.part : 0);
    // What comes behind the last word is in it.
    if (!one.isDone) this.#reply.grow(one.block, text);
  }

  nextSummary(at: At): void {
    const one = this.#find(at, "thinking")?.blocks.get(0);
    if (one !== undefined && !one.isDone && one.block.text !== "") this.#reply.grow(one.block, "\n\n");
  }

  done(at: At, raw: Raw): void {
    const kind = kindOf(raw);
    if (kind !== undefined) this.#done(this.#itemOf(at, kind, raw), raw);
  }

  /** An item of the finished response. */
  last(index: number, raw: Raw): void {
    const kind = kindOf(raw);
    if (kind === undefined) return;
    const known = this.#known(index, kind, raw);
    if (known !== undefined) this.#done(known, raw);
    else if (kind !== "text" || wordsOf(raw) !== "")
      this.#done(this.#make({ id: word(raw["id"]), index: undefined, part: 0 }, kind, raw), raw);
  }

  /** Ends what no event has ended. */
  complete(): void {
    for (const item of this.#items) {
      for (const [part, one] of item.blocks) if (!one.isDone) this.#end(item, part, one.block.text);
    }
  }

  #known(index: number, kind: Kind, raw: Raw): Item | undefined {
    const [id, callId, words] = [word(raw["id"]), word(raw["call_id"]), wordsOf(raw)];
    const ofKind = this.#items.filter((item) => item.kind === kind);
    return (
      ofKind.find((item) => id !== "" && item.ids.has(id)) ??
      ofKind.find((item) => callId !== "" && item.callId === callId) ??
      ofKind.find((item) => wordsIn(item) === words) ??
      ofKind.find((item) => item.index === index && (id === "" || item.ids.size === 0))
    );
  }

  #done(item: Item, raw: Raw): void {
    item.name = nameIn(raw) ?? item.name;
    item.callId = word(raw["call_id"]) || item.callId;
    if (item.kind === "text") {
      for (const [part, { kind, text }] of partsOf(raw)) this.#partDone(item, part, { kind, text });
      return;
    }
    const one = this.#blockOf(item, 0);
    if (one.isDone) return;
    const whole = wordsOf(raw);
    if (item.kind === "thinking") {
      one.isDone = true;
      this.#reply.completeThinking(one.block, whole, raw);
    } else if (whole !== "" || one.block.text === "") this.#end(item, 0, bestOf(whole, one.block.text));
  }

  #partDone(item: Item, part: number, { kind, text }: Said): void {
    const known = item.blocks.get(part);
    if (known?.isDone || (text === "" && known === undefined)) return;
    // An empty last word is none: what was streamed counts, and more may come.
    if (text === "") return;
    const { block } = this.#blockOf(item, part);
    this.#end(item, part, text || block.text);
    if (kind === "refusal") this.#reply.refuse(text);
  }

  #end(item: Item, part: number, whole: string): void {
    const one = this.#blockOf(item, part);
    one.isDone = true;
    if (item.kind === "text") this.#reply.completeText(one.block, whole);
    else if (item.kind === "thinking") this.#reply.completeThinking(one.block, whole);
    else this.#reply.completeCall(one.block, { name: item.name ?? "", arguments: whole, id: item.callId || undefined });
  }

  #blockOf(item: Item, part: number): { readonly block: OpenBlock; isDone: boolean } {
    const known = item.blocks.get(part);
    if (known !== undefined) return known;
    const one = { block: this.#reply.start(item.kind, item.name), isDone: false };
    item.blocks.set(part, one);
    return one;
  }

  #itemOf(at: At, kind: Kind, raw: Raw = {}): Item {
    const found = this.#find(at, kind, raw);
    if (found === undefined) return this.#make(at, kind, raw);
    if (at.id !== "") found.ids.add(at.id);
    return found;
  }

  #make(at: At, kind: Kind, raw: Raw): Item {
    const item: Item = {
      kind,
      ids: new Set(at.id === "" ? [] : [at.id]),
      index: at.index,
      blocks: new Map(),
      name: nameIn(raw),
      callId: word(raw["call_id"]),
    };
    this.#items.push(item);
    return item;
  }

  /** By its id, else by the id of its call, else by its number; an event with neither goes to the newest of its kind. */
  #find(at: At, kind: Kind, raw: Raw = {}): Item | undefined {
    const ofKind = this.#items.filter((item) => item.kind === kind);
    const callId = word(raw["call_id"]);
    const byId = ofKind.find((item) => at.id !== "" && item.ids.has(at.id));
    const byCall = ofKind.find((item) => callId !== "" && item.callId === callId);
    if (byId ?? byCall) return byId ?? byCall;
    // Two that are named differently are two, whatever their numbers are.
    const may = ofKind.filter(
      (item) =>
        (at.id === "" || item.ids.size === 0) && (callId === "" || item.callId === "" || item.callId === callId),
    );
    return may.findLast((item) => at.index === undefined || item.index === undefined || item.index === at.index);
  }
}

function kindOf({ type }: Raw): Kind | undefined {
  if (type === "message") return "text";
  if (type === "reasoning") return "thinking";
  return type === "function_call" ? "tool_call" : undefined;
}

function nameIn({ name }: Raw): string | undefined {
  return typeof name === "string" ? name : undefined;
}

/** The parts of a message's content, by their places. */
function partsOf(raw: Raw): readonly (readonly [number, Said])[] {
  const { content } = raw;
  const parts: readonly unknown[] = typeof content === "string" ? [content] : list(content);
  return parts.map((part, index) => {
    const said = saidParts(part);
    return [index, { kind: said[0]?.kind ?? "text", text: said.map(({ text }) => text).join("") }] as const;
  });
}

/** All that an item says. */
function wordsOf(raw: Raw): string {
  if (raw["type"] === "function_call") return argumentsIn(raw["arguments"]);
  if (raw["type"] === "reasoning") {
    const parts = list(raw["summary"]);
    return (parts.length > 0 ? parts : list(raw["content"])).map((part) => word(record(part)["text"])).join("\n\n");
  }
  return partsOf(raw)
    .map(([, { text }]) => text)
    .join("");
}

function wordsIn({ blocks }: Item): string {
  return [...blocks.values()].map(({ block }) => block.text).join("");
}

/** A call's arguments: its last word, unless only its pieces make sense. */
function bestOf(whole: string, streamed: string): string {
  return !isWholeJson(whole) && isWholeJson(streamed) ? streamed : whole;
}
