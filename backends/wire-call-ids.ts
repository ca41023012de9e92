/**
 * The ids of calls as providers get them. A provider's own may come again in each turn, or be such as the next provider
 * refuses, so they are ours: unique in the conversation, nine letters and digits, which the strictest of them takes (Mistral).
 */
import { createHash } from "node:crypto";

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH = 9;
const OURS = /^[0-9A-Za-z]{9}$/;

/** The same for the same id, always. */
export function wireCallId(callId: string): string {
  let left = createHash("sha256").update(callId).digest().readBigUInt64BE();
  let id = "";
  for (let count = 0; count < LENGTH; count++) {
    id += LETTERS[Number(left % 62n)];
    left /= 62n;
  }
  return id;
}

/** Of a conversation that has the provider's own ids in it, from its beginning on: the same beginning has the same ids. */
export class WireCallIds {
  readonly #times = new Map<string, number>();
  /** Of this id: calls without a result, and the one whose result came last. */
  readonly #open = new Map<string, string[]>();
  readonly #last = new Map<string, string>();

  /** The id of a call. */
  called(id: string): string {
    const times = this.#times.get(id) ?? 0;
    this.#times.set(id, times + 1);
    const wire = times === 0 && OURS.test(id) ? id : wireCallId(`${id} ${times}`);
    this.#open.set(id, [...(this.#open.get(id) ?? []), wire]);
    return wire;
  }

  /** The same in its result. Of several calls that had this id the results come in their order. */
  answered(id: string): string {
    const wire = this.#open.get(id)?.shift() ?? this.#last.get(id) ?? id;
    this.#last.set(id, wire);
    return wire;
  }
}
