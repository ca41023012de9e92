/** From a host that a command names to an open connection: decided by the list, resolved once, and led to the checked address. */
import { lookup } from "node:dns/promises";
import { connect as openConnection, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../../contract/limits.ts";
import { classifyAddress } from "./addresses.ts";
import type { AllowList } from "./allow-list.ts";
import type { DecisionRecord } from "./decisions.ts";

/** The addresses of a name; rejects or gives none when it has none. */
export type Resolve = (name: string) => Promise<readonly string[]>;

export interface DestinationDeps {
  readonly list: AllowList;
  readonly resolve: Resolve;
  readonly record: DecisionRecord;
}

export type Destination =
  | { readonly state: "denied"; readonly reason: string }
  | { readonly state: "unresolved"; readonly reason: string }
  | { readonly state: "allowed"; readonly addresses: readonly string[] };

export const systemResolve: Resolve = async (name) => {
  const found = await lookup(name, { all: true, order: "ipv4first" });
  return found.map(({ address }) => address);
};

/**
 * Decides, and records what was decided before anything is connected. A name on the list may lead to addresses outside
 * only: to one inside the list must name the address itself, or `localhost` for this host's own.
 */
export async function chooseDestination(deps: DestinationDeps, given: string, port: number): Promise<Destination> {
  const { host, kind, decision, reason } = deps.list.decide(given, port);
  const decide = (is: "allow" | "deny", why: string): void =>
    deps.record.add({ host, port, decision: is, reason: why });
  if (decision === "deny" || kind === "none") {
    decide("deny", reason);
    return { state: "denied", reason };
  }
  const found = kind === "address" ? [host] : await resolveInTime(deps.resolve, host);
  if (found.length === 0) {
    decide("allow", `${reason}; the name could not be resolved`);
    return { state: "unresolved", reason: `the name ${host} could not be resolved` };
  }
  const addresses = found.filter((address) => mayReach(deps.list, { host, address, port }));
  if (addresses.length > 0) {
    decide("allow", reason);
    return { state: "allowed", addresses: addresses.slice(0, LIMITS.egressAddressesMax) };
  }
  const inside = `${host} leads to ${found[0]}, a ${classifyAddress(found[0] ?? "").replace("_", "-")} address`;
  const refusal = `${inside}, which a sandbox may reach only when its list names the address itself`;
  decide("deny", refusal);
  return { state: "denied", reason: refusal };
}

/** Opens a connection to the first of the addresses that takes one. Rejects with the last failure, in words. */
export async function connectTo(addresses: readonly string[], port: number, timeoutMs: number): Promise<Socket> {
  const deadline = Date.now() + timeoutMs;
  let failure = "no address was tried";
  for (const [index, address] of addresses.entries()) {
    const share = (deadline - Date.now()) / (addresses.length - index);
    if (share <= 0) break;
    const tried = await tryAddress(address, port, share);
    if (typeof tried !== "string") return tried;
    failure = tried;
  }
  throw new Error(failure);
}

function mayReach(
  list: AllowList,
  { host, address, port }: { readonly host: string; readonly address: string; readonly port: number },
): boolean {
  const kind = classifyAddress(address);
  return kind === "public" || (kind === "loopback" && host === "localhost") || list.namesAddress(address, port);
}

async function resolveInTime(resolve: Resolve, name: string): Promise<readonly string[]> {
  if (name === "localhost") return ["127.0.0.1", "::1"];
  const waiting = new AbortController();
  try {
    const late = delay(LIMITS.egressResolveMs, [], { signal: waiting.signal, ref: false });
    return await Promise.race([resolve(name), late]);
  } catch {
    return [];
  } finally {
    waiting.abort();
  }
}

function tryAddress(address: string, port: number, timeoutMs: number): Promise<Socket | string> {
  return new Promise((resolve) => {
    const socket = openConnection({ host: address, port, allowHalfOpen: true });
    const timer = setTimeout(() => fail("it did not answer in time"), timeoutMs);
    const fail = (words: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(words);
    };
    const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? "it could not be reached");
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}
