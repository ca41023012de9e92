/** Plain HTTP through the proxy: what is passed on is one message of ours, whatever two readers might make of theirs. */
import { describe, expect, test } from "vitest";
import { answerOk, openGate, openOrigin } from "./egress-gate.ts";

describe.concurrent("a request", () => {
  test("goes on in origin form with the headers that are meant for its receiver", async () => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });

    const said = await gate.say(
      request(`GET http://${to}/a/b?c=d HTTP/1.1`, [
        `Host: ${to}`,
        "Connection: close, X-Secret-Hop",
        "X-Secret-Hop: 1",
        "Proxy-Authorization: Basic abc",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "Upgrade: h2c",
        "Accept: x",
        "Accept: y",
      ]),
    );

    expect(said).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(said).toMatch(/\r\n\r\nhello$/);
    expect(origin.heard).toEqual([
      `GET /a/b?c=d HTTP/1.1\r\nHost: ${to}\r\nAccept: x\r\nAccept: y\r\nConnection: close\r\n\r\n`,
    ]);
  });

  test.each([
    ["of a known length", ["Content-Length: 6"], "abcdef", /\r\nContent-Length: 6\r\n.*\r\n\r\nabcdef$/s],
    [
      "in chunks",
      ["Transfer-Encoding: chunked"],
      "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
      /\r\nTransfer-Encoding: chunked\r\n.*\r\n\r\n(?:6\r\nabcdef|3\r\nabc\r\n3\r\ndef)\r\n0\r\n\r\n$/s,
    ],
    ["that is expected", ["Content-Length: 2", "Expect: 100-continue"], "ok", /\r\n\r\nok$/],
  ])("with a body %s brings it whole", async (_what, headers, body, heard) => {
    await using origin = await openOrigin((socket) => {
      const reply = (): void => {
        if (heard.test(origin.heard[0] ?? "")) answerOk(socket);
      };
      socket.on("data", reply);
      reply();
    });
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });

    const said = await gate.say(
      request(`POST http://${to}/ HTTP/1.1`, [`Host: ${to}`, "Connection: close", ...headers], body),
      "hello",
    );

    expect(said).toContain("hello");
    expect(origin.heard[0]).toMatch(heard);
  });

  test("that calls its length a matter of the hop is framed all the same", async () => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const headers = [`Host: ${to}`, "Connection: close, Content-Length, Host", "Content-Length: 4"];
    await gate.say(request(`GET http://${to}/ HTTP/1.1`, headers, "abcd"), "hello");
    expect(origin.heard[0]).toMatch(new RegExp(`^GET / HTTP/1\\.1\r\nHost: ${to}\r\nContent-Length: 4\r\n`));
  });

  test("that wants another protocol goes on as a plain one", async () => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const headers = [`Host: ${to}`, "Connection: Upgrade", "Upgrade: websocket"];
    expect(await gate.say(request(`GET http://${to}/ HTTP/1.1`, headers), "hello")).toMatch(/^HTTP\/1\.1 200 /);
    expect(origin.heard[0]).not.toMatch(/upgrade/i);
  });

  test("with a body in chunks is framed though its method has none as a rule", async () => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

    await gate.say(
      request(
        `GET http://${to}/ HTTP/1.1`,
        [`Host: ${to}`, "Connection: close", "Transfer-Encoding: chunked"],
        `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
      ),
      "hello",
    );

    expect(origin.heard).toHaveLength(1);
    expect(origin.heard[0]).toMatch(/^GET \/ HTTP\/1\.1\r\n.*Transfer-Encoding: chunked\r\n/s);
  });

  test.each<[string, string, readonly string[]]>([
    ["both a length and chunks", "", ["Content-Length: 4", "Transfer-Encoding: chunked"]],
    ["two lengths", "", ["Content-Length: 4", "Content-Length: 5"]],
    ["a length that is none", "", ["Content-Length: +4"]],
    ["an encoding that is not understood", "", ["Transfer-Encoding: gzip, chunked"]],
    ["an encoding that is spelled oddly", "", ["Transfer-Encoding: xchunked"]],
    ["a space before a colon", "", ["Host : evil.test"]],
    ["a folded header", "", ["X-A: b\r\n Host: evil.test"]],
    ["a NUL in a header", "", ["X-A: b\0c"]],
    ["another Host", "evil.test", []],
    ["another port in Host", "127.0.0.1:1", []],
    ["two Hosts", "", ["Host: evil.test"]],
    ["a Host with userinfo", "u@127.0.0.1", []],
  ])("with %s is refused, and nothing is connected to", async (_what, host, headers) => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });

    const said = await gate.say(
      request(`POST http://${to}/ HTTP/1.1`, [`Host: ${host || to}`, "Connection: close", ...headers], "abcd"),
      "\n\n",
    );

    expect(said).toMatch(/^HTTP\/1\.1 (400|501) /);
    expect(origin.heard).toEqual([]);
  });

  test.each([
    ["a path alone", "/x"],
    ["a star", "*"],
    ["https", "https://127.0.0.1/"],
    ["ftp", "ftp://127.0.0.1/"],
    ["userinfo", "http://u:p@127.0.0.1/"],
    ["userinfo with the listed host first", "http://127.0.0.1@evil.test/"],
    ["a backslash", "http://127.0.0.1\\@evil.test/"],
    ["no host", "http:///x"],
    ["a fragment", "http://127.0.0.1/#x"],
    ["a port that is none", "http://127.0.0.1:abc/"],
  ])("for %s is refused", async (_what, target) => {
    await using gate = await openGate({ allow: ["127.0.0.1"] });
    const said = await gate.say(request(`GET ${target} HTTP/1.1`, ["Host: 127.0.0.1", "Connection: close"]));
    expect(said).toMatch(/^HTTP\/1\.1 400 /);
    expect(gate.decisions).toEqual([]);
  });

  test("off the list is refused in words, with its upload unread", async () => {
    await using gate = await openGate({ allow: ["example.com"] });
    const said = await gate.say(
      request(
        "PUT http://evil.test/ HTTP/1.1",
        ["Host: evil.test", `Content-Length: ${1024 * 1024}`],
        "x".repeat(1024 * 1024),
      ),
      "example.com\n",
    );
    expect(said).toMatch(/^HTTP\/1\.1 403 .*\r\n\r\nthis sandbox may reach only example\.com\n$/s);
    expect(gate.decisions).toMatchObject([{ host: "evil.test", port: 80, decision: "deny" }]);
  });

  test("after another on one connection is decided by itself", async () => {
    await using origin = await openOrigin(answerOk);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const said = await gate.say(
      request(`GET http://${to}/ HTTP/1.1`, [`Host: ${to}`]) +
        request("GET http://evil.test/ HTTP/1.1", ["Host: evil.test", "Connection: close"]),
    );
    expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 403"]);
    expect(gate.decisions.map(({ decision }) => decision)).toEqual(["allow", "deny"]);
  });
});

describe.concurrent("an answer", () => {
  test("keeps its status, headers and body, without those of the hop", async () => {
    await using origin = await openOrigin((socket) => {
      socket.end(
        "HTTP/1.1 404 Odd Words\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n" +
          "Proxy-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      );
    });
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });

    const said = await gate.say(request(`GET http://${to}/ HTTP/1.1`, [`Host: ${to}`, "Connection: close"]));

    expect(said).toMatch(/^HTTP\/1\.1 404 Odd Words\r\n.*Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n/s);
    expect(said).not.toMatch(/X-Hop|Proxy-Authenticate/);
    expect(said).toMatch(/3\r\nabc\r\n0\r\n\r\n$/);
  });

  test("to HEAD has no body", async () => {
    await using origin = await openOrigin((socket) => {
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    });
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const said = await gate.say(request(`HEAD http://${to}/ HTTP/1.1`, [`Host: ${to}`, "Connection: close"]));
    expect(said).toMatch(/^HTTP\/1\.1 200 OK\r\nContent-Length: 1000\r\n.*\r\n\r\n$/s);
  });

  test.each([
    ["breaks off", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", /abc$/],
    ["breaks off in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", /abc(?:\r\n)?$/],
  ])("that %s is not made whole", async (_what, answer, said) => {
    await using origin = await openOrigin((socket) => void socket.end(answer));
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    expect(await gate.say(request(`GET http://${to}/ HTTP/1.1`, [`Host: ${to}`]))).toMatch(said);
  });

  test.each([
    ["is no HTTP", "garbage\r\n\r\n"],
    ["has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ["switches protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw"],
    ["ends at once", ""],
    ["has a status of a thousand", "HTTP/1.1 1000 X\r\n\r\n"],
  ])("that %s is a bad gateway", async (_what, answer) => {
    await using origin = await openOrigin((socket) => void socket.end(answer));
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const said = await gate.say(request(`GET http://${to}/ HTTP/1.1`, [`Host: ${to}`, "Connection: close"]));
    expect(said).toMatch(/^HTTP\/1\.1 502 /);
  });
});

function request(line: string, headers: readonly string[], body = ""): string {
  return `${[line, ...headers].join("\r\n")}\r\n\r\n${body}`;
}
