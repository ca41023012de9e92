/** What kind of place an IP address names. Only `public` ones may be reached by whoever was not given the address itself. */
import { BlockList, isIP } from "node:net";

export type AddressClass =
  | "public"
  | "unspecified"
  | "loopback"
  | "private"
  /** Between a provider and its customers (100.64.0.0/10). */
  | "shared"
  | "link_local"
  /** Where a cloud hands out the keys of its machines. */
  | "metadata"
  | "multicast"
  /** Documentation, benchmarks, tunnels, and what nobody was given yet. */
  | "reserved"
  /** Not an IP address as the standards write it. */
  | "invalid";

type Rows = readonly (readonly [AddressClass, readonly string[]])[];

/** The first row that holds an address decides. */
const IPV4: Rows = [
  ["metadata", ["169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"]],
  ["unspecified", ["0.0.0.0/8"]],
  ["loopback", ["127.0.0.0/8"]],
  ["private", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]],
  ["shared", ["100.64.0.0/10"]],
  ["link_local", ["169.254.0.0/16"]],
  ["multicast", ["224.0.0.0/4"]],
  [
    "reserved",
    [
      ...["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"],
      "240.0.0.0/4",
    ],
  ],
];

/** Forms that hold an IPv4 address are taken for that address before these are looked at. */
const IPV6: Rows = [
  ["metadata", ["fd00:ec2::/32", "fd20:ce::254/128"]],
  ["unspecified", ["::/128"]],
  ["loopback", ["::1/128"]],
  ["private", ["fc00::/7", "fec0::/10"]],
  ["link_local", ["fe80::/10"]],
  ["multicast", ["ff00::/8"]],
  ["reserved", ["2001::/23", "2001:db8::/32", "3fff::/20"]],
  // Of all the rest only this eighth was ever given out.
  ["public", ["2000::/3"]],
];

const CLASSES4 = blockLists(IPV4, "ipv4");
const CLASSES6 = blockLists(IPV6, "ipv6");

/**
 * The class of an address as the standards write it: dotted decimal or IPv6, with or without a zone. An IPv6 address that
 * holds an IPv4 one (mapped, compatible, translated, NAT64, 6to4) has the class of that one.
 */
export function classifyAddress(ip: string): AddressClass {
  const [address = "", zone] = ip.split("%", 2);
  const version = isIP(address);
  if (version === 0 || (zone !== undefined && version === 4)) return "invalid";
  if (version === 4) return classIn(CLASSES4, address, "ipv4") ?? "public";
  const words = ipv6Words(address);
  const embedded = embeddedIpv4(words);
  if (embedded !== undefined) return classIn(CLASSES4, embedded, "ipv4") ?? "public";
  return classIn(CLASSES6, address, "ipv6") ?? "reserved";
}

/** One spelling for each address, so that two can be compared; undefined when it is none. */
export function canonicalAddress(ip: string): string | undefined {
  const version = isIP(ip);
  if (version === 4) return ip;
  if (version === 0 || ip.includes("%")) return undefined;
  const words = ipv6Words(ip);
  // What goes out on the wire for a mapped address is the IPv4 one.
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) return dotted(words, 6);
  return words.map((word) => word.toString(16)).join(":");
}

function embeddedIpv4(words: readonly number[]): string | undefined {
  const starts = (...prefix: readonly number[]): boolean => prefix.every((word, index) => words[index] === word);
  if (starts(0, 0, 0, 0, 0, 0xffff) || starts(0, 0, 0, 0, 0xffff, 0) || starts(0x64, 0xff9b, 0, 0, 0, 0)) {
    return dotted(words, 6);
  }
  if (starts(0x2002)) return dotted(words, 1);
  // `::` and `::1` are addresses of their own, not compatible forms of 0.0.0.0 and 0.0.0.1.
  return starts(0, 0, 0, 0, 0, 0) && !(words[6] === 0 && (words[7] ?? 0) <= 1) ? dotted(words, 6) : undefined;
}

function dotted(words: readonly number[], from: number): string {
  const [high = 0, low = 0] = words.slice(from, from + 2);
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight words of an IPv6 address that `isIP` has taken for one. */
function ipv6Words(address: string): readonly number[] {
  const tail = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const [, front = "", a, b, c, d] = tail ?? [];
  const whole = tail
    ? `${front}${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`
    : address;
  const [left = [], right] = whole.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const words = right === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill("0"), ...right];
  return words.map((word) => Number.parseInt(word, 16));
}

type Family = "ipv4" | "ipv6";
type Classes = readonly { readonly name: AddressClass; readonly list: BlockList }[];

function classIn(classes: Classes, address: string, family: Family): AddressClass | undefined {
  return classes.find(({ list }) => list.check(address, family))?.name;
}

function blockLists(rows: Rows, family: Family): Classes {
  return rows.map(([name, networks]) => {
    const list = new BlockList();
    for (const network of networks) {
      const [address = "", bits] = network.split("/");
      list.addSubnet(address, Number(bits), family);
    }
    return { name, list };
  });
}
