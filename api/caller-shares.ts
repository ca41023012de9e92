/**
 * How much of one thing each caller may hold: never more than what is left free beside it. One alone gets half of all, two get a
 * third each, and somebody who comes later always finds something. A caller is an address, as all have one token.
 */
import type { Socket } from "node:net";

/** One that holds nothing may take what is free, so that a single large thing is possible. */
export class CallerShares {
  readonly #most: number;
  readonly #held = new Map<string, number>();
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Whether the caller got so much more. `most`: of all callers, where it changes. */
  take(caller: string, amount: number, most: number = this.#most): boolean {
    const before = this.#held.get(caller) ?? 0;
    const free = most - this.#taken - amount;
    if (free < 0 || (before > 0 && before + amount > free)) return false;
    this.#add(caller, amount);
    return true;
  }

  /** Takes what is there already, as bytes that have come, and says whether that is still within the share. */
  grow(caller: string, amount: number): boolean {
    const isWithin = this.take(caller, amount);
    if (!isWithin) this.#add(caller, amount);
    return isWithin;
  }

  giveBack(caller: string, amount: number): void {
    this.#add(caller, -amount);
  }

  #add(caller: string, amount: number): void {
    const held = (this.#held.get(caller) ?? 0) + amount;
    if (held > 0) this.#held.set(caller, held);
    else this.#held.delete(caller);
    this.#taken += amount;
  }
}

const NETWORK_GROUPS = 4;

/** Who is at the other end. Of IPv6 the network: a host has as many addresses in it as it likes. */
export function callerOf({ remoteAddress }: Pick<Socket, "remoteAddress">): string {
  const address = (remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/i, "");
  if (!address.includes(":") || address === "::1") return address;
  const [front = "", back] = address.split("::");
  const groups = front.split(":");
  if (back === undefined) return groups.slice(0, NETWORK_GROUPS).join(":");
  const zeros = Array.from({ length: Math.max(0, 8 - groups.length - back.split(":").length) }, () => "0");
  return [...groups, ...zeros, ...back.split(":")].slice(0, NETWORK_GROUPS).join(":");
}
