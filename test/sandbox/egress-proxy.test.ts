/** The proxy over its real socket: what is on the list is reached, what is not is refused before a connection, in words. */
import { describe, expect, test } from "vitest";
import { answerOk, everything, openGate, openOrigin } from "./egress-gate.ts";

describe.concurrent("CONNECT", () => {
  test("to an address of the list passes bytes both ways, also what came with the request", async () => {
    await using origin = await openOrigin((socket, heard) => void socket.end(`got ${heard}`));
    await using gate = await openGate({ allow: [`127.0.0.1:${origin.port}`] });

    const said = await gate.say(connectTo(`127.0.0.1:${origin.port}`, "early\r\n\r\n"));

    expect(said).toBe("HTTP/1.1 200 Connection Established\r\n\r\ngot early\r\n\r\n");
    expect(gate.decisions).toEqual([
      {
        host: "127.0.0.1",
        port: origin.port,
        decision: "allow",
        reason: `it is on the sandbox's list: 127.0.0.1:${origin.port}`,
      },
    ]);
  });

  test("goes on one way when the other has ended", async () => {
    await using origin = await openOrigin((socket) => {
      socket.once("end", () => socket.end("after your end"));
    });
    await using gate = await openGate({ allow: [`127.0.0.1:${origin.port}`] });
    const client = gate.dial();

    client.write(connectTo(`127.0.0.1:${origin.port}`, "x\r\n\r\n"));
    await everything(client, "Established\r\n\r\n");
    client.end();

    expect(await everything(client)).toBe("after your end");
  });

  test("passes 20 MB whole, with back-pressure", async () => {
    const bytes = 20 * 1024 * 1024;
    await using origin = await openOrigin((socket) => void socket.end(Buffer.alloc(bytes, "x")));
    await using gate = await openGate({ allow: [`127.0.0.1:${origin.port}`] });
    const client = gate.dial();

    client.write(connectTo(`127.0.0.1:${origin.port}`, "go\r\n\r\n"));

    let received = 0;
    for await (const part of client) received += part.length;
    expect(received).toBe(bytes + "HTTP/1.1 200 Connection Established\r\n\r\n".length);
  });

  test("to a host off the list is refused with what may be reached, and nothing is resolved", async () => {
    await using gate = await openGate({ allow: ["example.com", "*.npmjs.org:443"] });

    const said = await gate.say(connectTo("evil.test:443"));

    expect(said).toMatch(/^HTTP\/1\.1 403 Forbidden: this sandbox may reach only example\.com, \*\.npmjs\.org:443\r\n/);
    expect(said).toMatch(/\r\n\r\nthis sandbox may reach only example\.com, \*\.npmjs\.org:443\n$/);
    expect(gate.asked).toEqual([]);
    expect(gate.decisions).toMatchObject([{ host: "evil.test", port: 443, decision: "deny" }]);
  });

  test.each([
    ["a path", "example.com:443/x"],
    ["no port", "example.com"],
    ["userinfo", "user@example.com:443"],
    ["a second port", "example.com:443:80"],
    ["a whole URL", "http://example.com:443/"],
    ["IPv6 without brackets", "::1:443"],
    ["nothing", ":443"],
  ])("with %s is refused", async (_what, target) => {
    await using gate = await openGate({ allow: ["example.com"], names: { "example.com": ["127.0.0.1"] } });
    expect(await gate.say(connectTo(target))).toMatch(/^HTTP\/1\.1 400 /);
    expect(gate.asked).toEqual([]);
  });

  test.each([
    "2130706433:443",
    "0x7f.1:443",
    "127.1:443",
    "[::ffff:7f00:1]:443",
    "[::1]:443",
    "0.0.0.0:443",
    "127.0.0.1:443",
    "example.com.evil:443",
    "example.com%00.evil:443",
  ])("to %s is refused", async (target) => {
    await using gate = await openGate({ allow: ["example.com"], names: { "example.com": ["127.0.0.1"] } });
    expect(await gate.say(connectTo(target))).toMatch(/^HTTP\/1\.1 403 /);
    expect(gate.decisions).toMatchObject([{ decision: "deny" }]);
  });
});

describe.concurrent("names", () => {
  test.each([
    ["loopback", ["127.0.0.1"]],
    ["loopback in IPv6", ["::1"]],
    ["mapped loopback", ["::ffff:127.0.0.1"]],
    ["private", ["10.1.2.3"]],
    ["private, twice", ["192.168.0.1", "172.16.0.1"]],
    ["link-local", ["169.254.1.1"]],
    ["metadata", ["169.254.169.254"]],
    ["metadata through NAT64", ["64:ff9b::a9fe:a9fe"]],
    ["shared", ["100.64.0.1"]],
    ["unspecified", ["0.0.0.0"]],
    ["multicast", ["224.0.0.1"]],
    ["private in IPv6", ["fd00::1"]],
  ])("that lead to a %s address are refused, though they are on the list", async (_kind, addresses) => {
    await using gate = await openGate({ allow: ["inside.test"], names: { "inside.test": addresses } });

    const said = await gate.say(connectTo("inside.test:443"));

    expect(said).toMatch(/^HTTP\/1\.1 403 .*inside\.test leads to .* only when its list names the address itself/);
    expect(gate.decisions).toMatchObject([{ host: "inside.test", decision: "deny" }]);
  });

  test("may lead inside when the list names the very address and port", async () => {
    await using origin = await openOrigin(answerOk);
    const { port } = origin;
    await using gate = await openGate({
      allow: [`inside.test:${port}`, `127.0.0.1:${port}`, `other.test:${port}`],
      names: { "inside.test": ["10.0.0.1", "127.0.0.1"], "other.test": ["127.0.0.2"] },
    });
    expect(await gate.say(connectTo(`inside.test:${port}`, "x\r\n\r\n"))).toContain("hello");
    expect(await gate.say(connectTo(`other.test:${port}`))).toMatch(/^HTTP\/1\.1 403 /);
  });

  test("are resolved once, and the checked address is what is connected to", async () => {
    await using origin = await openOrigin(answerOk);
    const { port } = origin;
    // A second look would find an address that leads nowhere.
    const answers = [["127.0.0.1"], ["127.0.0.9"]];
    const names = {
      get "rebound.test"(): readonly string[] {
        return answers.shift() ?? [];
      },
    };
    await using gate = await openGate({ allow: [`rebound.test:${port}`, `127.0.0.1:${port}`], names });
    expect(await gate.say(connectTo(`rebound.test:${port}`, "x\r\n\r\n"))).toContain("hello");
    expect(gate.asked).toEqual(["rebound.test"]);
  });

  test("localhost means this host when the list names it, and is not resolved", async () => {
    await using origin = await openOrigin(answerOk);
    const { port } = origin;
    await using gate = await openGate({
      allow: [`localhost:${port}`, "*.localhost"],
      names: { localhost: ["10.0.0.1"], "a.localhost": ["127.0.0.1"] },
    });
    expect(await gate.say(connectTo(`LOCALHOST.:${port}`, "x\r\n\r\n"))).toContain("hello");
    expect(gate.asked).toEqual([]);
    expect(await gate.say(connectTo("a.localhost:80"))).toMatch(/^HTTP\/1\.1 403 /);
  });

  test("that cannot be resolved are said to be so", async () => {
    await using gate = await openGate({ allow: ["nowhere.test"], names: {} });
    expect(await gate.say(connectTo("nowhere.test:443"))).toMatch(
      /^HTTP\/1\.1 502 .*the name nowhere\.test could not be resolved/,
    );
  });

  test("a server that does not listen is said to be out of reach", async () => {
    const closed = await openOrigin(answerOk);
    await closed[Symbol.asyncDispose]();
    await using gate = await openGate({ allow: [`127.0.0.1:${closed.port}`] });
    expect(await gate.say(connectTo(`127.0.0.1:${closed.port}`))).toMatch(/^HTTP\/1\.1 502 .*ECONNREFUSED/);
  });
});

function connectTo(target: string, then = ""): string {
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n${then}`;
}
