/** Which hosts and ports a sandbox may reach, by its list. Pure: it decides by the name, and knows nothing of where that leads. */
import { isIP, isIPv4 } from "node:net";
import { domainToASCII } from "node:url";
import type { AllowedHost } from "../../contract/sandbox.ts";
import { SandboxError } from "../provider.ts";
import { canonicalAddress } from "./addresses.ts";

export interface AllowDecision {
  readonly decision: "allow" | "deny";
  /** For whoever wanted to reach it, to act on. */
  readonly reason: string;
  /** One spelling of the host, which is what must be resolved; as it was given when it is no host. */
  readonly host: string;
  readonly kind: "name" | "address" | "none";
}

export interface AllowList {
  /** `host`: a name in any case, with or without its last dot, or an address (IPv6 with or without brackets). */
  decide(host: string, port: number): AllowDecision;
  /** Whether the list names this very address: it may then be reached though it is one inside. */
  namesAddress(address: string, port: number): boolean;
}

const DEFAULT_PORTS: readonly number[] = [80, 443];
const NAME_MAX = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** Entries that a refusal names: enough for a list that was written by hand. */
const ENTRIES_SHOWN = 20;

interface Entry {
  readonly text: string;
  readonly kind: "name" | "address" | "below";
  /** Of `below`: with the dot before it. */
  readonly host: string;
  readonly ports: readonly number[];
}

/** Throws SandboxError `failed` when an entry cannot be understood: a list that says less than it seems to helps nobody. */
export function allowList(patterns: readonly AllowedHost[]): AllowList {
  const entries = patterns.map(parseEntry);
  const isNamed = (entry: Entry, kind: "name" | "address", host: string): boolean =>
    entry.kind === "below" ? kind === "name" && isBelow(host, entry.host) : entry.kind === kind && entry.host === host;
  return {
    decide(given, port) {
      const host = canonicalHost(given);
      if (host === undefined || !Number.isInteger(port) || port < 1 || port > 65_535) {
        return {
          decision: "deny",
          reason: `${shown(given)} is no host that a sandbox may reach`,
          host: given,
          kind: "none",
        };
      }
      const named = entries.filter((entry) => isNamed(entry, host.kind, host.host));
      const match = named.find((entry) => entry.ports.includes(port));
      if (match) return { ...host, decision: "allow", reason: `it is on the sandbox's list: ${match.text}` };
      return { ...host, decision: "deny", reason: named.length > 0 ? otherPorts(host.host, named) : others(entries) };
    },
    namesAddress(address, port) {
      const host = canonicalAddress(address);
      return entries.some((entry) => entry.kind === "address" && entry.host === host && entry.ports.includes(port));
    },
  };
}

/**
 * One spelling for each host, or undefined when it is none. What the C library would take for an IPv4 address although it is
 * not written as one (`127.1`, `0x7f.1`, `2130706433`, `010.0.0.1`) is no host.
 */
export function canonicalHost(given: string): { readonly kind: "name" | "address"; readonly host: string } | undefined {
  if (given.length > NAME_MAX + 1) return undefined;
  const bare = /^\[([0-9a-f:.]+)\]$/i.exec(given)?.[1] ?? given;
  if (isIP(bare) !== 0) {
    if (bare !== given && isIPv4(bare)) return undefined;
    const host = canonicalAddress(bare);
    return host === undefined ? undefined : { kind: "address", host };
  }
  const host = asciiName(given);
  if (host === undefined || host.length > NAME_MAX) return undefined;
  const labels = host.split(".");
  const isName = labels.every((label) => LABEL.test(label)) && !/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "");
  return isName ? { kind: "name", host } : undefined;
}

function asciiName(given: string): string | undefined {
  const name = given.endsWith(".") ? given.slice(0, -1) : given;
  if (/^[\w.-]+$/.test(name)) return name.toLowerCase();
  // domainToASCII decodes percent signs, and drops what is invisible: neither is how a host is written.
  if (!/^[\p{L}\p{M}\p{N}._-]+$/u.test(name)) return undefined;
  return domainToASCII(name) || undefined;
}

function parseEntry(text: AllowedHost): Entry {
  const [, below, host = "", port] = /^(\*\.)?(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(text) ?? [];
  const known = canonicalHost(host);
  const ports = port === undefined ? DEFAULT_PORTS : [Number(port)];
  const isPort = ports.every((one) => one >= 1 && one <= 65_535);
  if (known === undefined || !isPort || (below !== undefined && known.kind === "address")) {
    throw new SandboxError(
      "failed",
      `the sandbox's network list has ${shown(text)}: expected a host, *.domain or an address, with or without :port`,
    );
  }
  return { text, kind: below ? "below" : known.kind, host: below ? `.${known.host}` : known.host, ports };
}

function isBelow(host: string, domain: string): boolean {
  return host.endsWith(domain) && host.length > domain.length;
}

function otherPorts(host: string, named: readonly Entry[]): string {
  const ports = [...new Set(named.flatMap((entry) => entry.ports))].sort((a, b) => a - b);
  return `this sandbox may reach ${host} only at ${ports.length > 1 ? "the ports" : "port"} ${ports.join(", ")}`;
}

function others(entries: readonly Entry[]): string {
  if (entries.length === 0) return "this sandbox may reach no host";
  const more = entries.length > ENTRIES_SHOWN ? ` and ${entries.length - ENTRIES_SHOWN} more` : "";
  const list = entries.slice(0, ENTRIES_SHOWN).map((entry) => entry.text);
  return `this sandbox may reach only ${list.join(", ")}${more}`;
}

function shown(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}
