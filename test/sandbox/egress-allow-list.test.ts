/** The allow-list: what it names is reached under all its spellings, and nothing else is under any. */
import { describe, expect, test } from "vitest";
import { allowList, canonicalHost } from "../../sandbox/egress/allow-list.ts";
import { SandboxError } from "../../sandbox/provider.ts";

const LIST = allowList([
  ...["example.com", "*.npmjs.org", "api.test:8443", "*.deep.test:22", "localhost:3000", "xn--bcher-kva.de"],
  ...["93.184.215.14", "127.0.0.1:8080", "[2001:db8::1]:443", "[::1]:9", "under_score.test", "UPPER.Test."],
] as string[]);

describe("the list allows", () => {
  test.each<[string, number]>([
    ["example.com", 80],
    ["example.com", 443],
    ["EXAMPLE.com", 443],
    ["example.com.", 443],
    ["registry.npmjs.org", 443],
    ["a.b.c.npmjs.org", 80],
    ["Registry.NPMJS.org.", 443],
    ["api.test", 8443],
    ["x.deep.test", 22],
    ["localhost", 3000],
    ["bücher.de", 443],
    ["BÜCHER.de", 443],
    ["xn--bcher-kva.de", 80],
    ["XN--BCHER-KVA.DE", 80],
    ["93.184.215.14", 443],
    ["127.0.0.1", 8080],
    ["::ffff:127.0.0.1", 8080],
    ["2001:db8::1", 443],
    ["[2001:0DB8:0:0::1]", 443],
    ["::1", 9],
    ["under_score.test", 443],
    ["upper.test", 443],
  ])("%s at port %i", (host, port) => {
    expect(LIST.decide(host, port).decision).toBe("allow");
  });
});

describe("the list denies", () => {
  test.each<[string, number]>([
    ["example.com", 8080],
    ["example.com", 22],
    ["www.example.com", 443],
    ["example.com.evil", 443],
    ["evil-example.com", 443],
    ["evilexample.com", 443],
    ["example.co", 443],
    ["xample.com", 443],
    ["com", 443],
    ["npmjs.org", 443],
    [".npmjs.org", 443],
    ["evilnpmjs.org", 443],
    ["registry.npmjs.org", 22],
    ["registry.npmjs.org.evil", 443],
    ["npmjs.org.evil", 443],
    ["*.npmjs.org", 443],
    ["api.test", 443],
    ["x.deep.test", 443],
    ["deep.test", 22],
    ["localhost", 80],
    ["a.localhost", 3000],
    ["93.184.215.15", 443],
    ["93.184.215.14", 8080],
    ["127.0.0.1", 80],
    ["127.0.0.2", 8080],
    ["2001:db8::2", 443],
    ["1.93.184.215.14", 443],
  ])("%s at port %i, which is another", (host, port) => {
    expect(LIST.decide(host, port)).toMatchObject({ decision: "deny" });
  });

  test.each<[string, string]>([
    ["userinfo before the host", "example.com@evil.test"],
    ["userinfo after it", "evil.test@example.com"],
    ["a port in the host", "example.com:443"],
    ["a path", "example.com/"],
    ["a fragment", "example.com#.npmjs.org"],
    ["a question mark", "evil.test?.npmjs.org"],
    ["a backslash", "evil.test\\.npmjs.org"],
    ["a NUL", "example.com\0"],
    ["a NUL before an allowed ending", "evil.test\0.npmjs.org"],
    ["a line break", "evil.test\r\n.npmjs.org"],
    ["a space", " example.com"],
    ["a tab", "example.com\t"],
    ["a percent sign", "evil.test%00.npmjs.org"],
    ["an escaped letter", "ex%61mple.com"],
    ["two last dots", "example.com.."],
    ["two dots within", "a..npmjs.org"],
    ["a first dot", ".example.com"],
    ["only a dot", "."],
    ["nothing", ""],
    ["an empty wildcard label", "-.npmjs.org"],
    ["a label with a last hyphen", "a-.npmjs.org"],
    ["a label of 64 characters", `${"a".repeat(64)}.npmjs.org`],
    ["a name of more than 253 characters", `${"a.".repeat(130)}npmjs.org`],
    ["a name of a million characters", `${"a.".repeat(500_000)}npmjs.org`],
    ["a wildcard", "*"],
    ["an invisible hyphen", "exam\u00adple.com"],
    ["a zero-width joiner", "exam\u200dple.com"],
    ["a right-to-left mark", "example.com\u200f"],
    ["another alphabet's letter", "еxample.com"],
    ["short IPv4", "127.1"],
    ["shorter IPv4", "127"],
    ["decimal IPv4", "2130706433"],
    ["hexadecimal IPv4", "0x7f000001"],
    ["hexadecimal parts", "0x7f.0x0.0x0.0x1"],
    ["octal IPv4", "0177.0.0.1"],
    ["long octal IPv4", "017700000001"],
    ["zero-padded IPv4", "127.000.000.001"],
    ["zero-padded IPv4 of the list", "093.184.215.14"],
    ["IPv4 with a last dot", "127.0.0.1."],
    ["IPv4 in brackets", "[127.0.0.1]"],
    ["wide digits", "１２７.0.0.1"],
    ["IPv6 with a zone", "::1%lo"],
    ["IPv6 with a zone in brackets", "[::1%25lo]"],
    ["unclosed brackets", "[::1"],
    ["IPv6 with a port", "[::1]:9"],
    ["a scheme", "http://example.com"],
  ])("what is no host: %s", (_what, host) => {
    for (const port of [80, 443, 8080, 9, 3000]) expect(LIST.decide(host, port).decision).toBe("deny");
  });

  test.each([0, -1, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("port %d", (port) => {
    expect(allowList(["example.com"]).decide("example.com", port).decision).toBe("deny");
  });

  test("everything when it is empty", () => {
    expect(allowList([]).decide("example.com", 443)).toMatchObject({
      decision: "deny",
      reason: "this sandbox may reach no host",
    });
  });
});

describe("its reasons say what to do", () => {
  test("another host is told the list", () => {
    expect(allowList(["example.com", "*.npmjs.org"]).decide("evil.test", 443).reason).toBe(
      "this sandbox may reach only example.com, *.npmjs.org",
    );
  });

  test("a long list is cut", () => {
    const { reason } = allowList(Array.from({ length: 200 }, (_, n) => `h${n}.test`)).decide("evil.test", 443);
    expect(reason).toMatch(/h19\.test and 180 more$/);
  });

  test("another port is told the host's ports", () => {
    const list = allowList(["example.com", "example.com:8443", "only.test:22"]);
    expect(list.decide("example.com", 22).reason).toBe(
      "this sandbox may reach example.com only at the ports 80, 443, 8443",
    );
    expect(list.decide("only.test", 80).reason).toBe("this sandbox may reach only.test only at port 22");
  });

  test("a hostile host is shown in bounds and escaped", () => {
    const { reason } = LIST.decide(`${"\r\nX: y".repeat(1_000)}`, 443);
    expect(reason.length).toBeLessThan(600);
    expect(reason).not.toMatch(/[\r\n]/);
  });
});

test("an address inside is named only by its own entry", () => {
  expect(LIST.namesAddress("127.0.0.1", 8080)).toBe(true);
  expect(LIST.namesAddress("::ffff:7f00:1", 8080)).toBe(true);
  expect(LIST.namesAddress("127.0.0.1", 80)).toBe(false);
  expect(LIST.namesAddress("127.0.0.2", 8080)).toBe(false);
  expect(LIST.namesAddress("10.0.0.1", 443)).toBe(false);
});

test.each(["", "*", "*.", "*.127.0.0.1", "*.[::1]", "127.1", "1e2.0x1", "[::1", "::1", "a b", "example.com:0"])(
  "the entry %j is refused in words",
  (entry) => {
    expect(() => allowList([entry])).toThrow(SandboxError);
    expect(() => allowList([entry])).toThrow(/expected a host, \*\.domain or an address/);
  },
);

test("a port beyond the last is refused", () => {
  expect(() => allowList(["example.com:65536"])).toThrow(SandboxError);
});

test("hosts are spelled in one way", () => {
  expect(canonicalHost("Example.COM.")).toEqual({ kind: "name", host: "example.com" });
  expect(canonicalHost("[::FFFF:10.0.0.1]")).toEqual({ kind: "address", host: "10.0.0.1" });
});
