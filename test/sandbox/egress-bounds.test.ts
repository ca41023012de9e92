/** The proxy's bounds: slow, silent and garbled clients cost little, and are told what is wrong where that can be told. */
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { eventually } from "./commands.ts";
import { answerOk, everything, openGate, openOrigin } from "./egress-gate.ts";

describe.concurrent("a client", () => {
  test.each<[string, string | Buffer]>([
    ["TLS", Buffer.from("160301020001000001fc0303", "hex")],
    ["SOCKS", Buffer.from("050100", "hex")],
    ["SSH", "SSH-2.0-OpenSSH_9.2\r\n"],
    ["NULs", Buffer.alloc(100)],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["a wrong version", "GET http://127.0.0.1/ HTTP/9.9\r\n\r\n"],
    ["bare line feeds with a space", "GET  http://127.0.0.1/\n\n"],
  ])("that speaks %s is told that this is no HTTP", async (_what, bytes) => {
    await using gate = await openGate({ allow: ["127.0.0.1"] });
    expect(await gate.say(bytes)).toMatch(/^HTTP\/1\.1 400 /);
  });

  test("whose head is too large is told so", async () => {
    await using gate = await openGate({ allow: ["127.0.0.1"] });
    const head = `GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${"x".repeat(LIMITS.egressHeaderBytesMax)}`;
    expect(await gate.say(head)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("that sends its head too slowly is cut off", async () => {
    await using gate = await openGate({ allow: ["127.0.0.1"], bounds: { headMs: 100 } });
    const client = gate.dial();
    const dripping = setInterval(() => client.writable && client.write("X"), 20);
    client.write("GET http://127.0.0.1/ HTTP/1.1\r\nHo");
    expect(await everything(client)).toMatch(/^HTTP\/1\.1 408 /);
    clearInterval(dripping);
  });

  test("that opens connections without end is held to its number", async () => {
    await using gate = await openGate({ allow: ["127.0.0.1"], bounds: { connectionsMax: 5 } });
    const clients = Array.from({ length: 20 }, () => connect(gate.socketPath));
    let closed = 0;
    for (const client of clients) client.on("error", () => undefined).once("close", () => (closed += 1));
    await eventually(() => closed === 15, "the connections beyond the bound are closed");
    for (const client of clients) client.destroy();
  });

  test("that has as many answers under way on one connection as it may have is told so", async () => {
    await using origin = await openOrigin(() => undefined);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to], bounds: { connectionsMax: 2 } });
    const one = gate.dial();
    const get = `GET http://${to}/ HTTP/1.1\r\nHost: ${to}\r\n\r\n`;
    one.write(get + get);
    await eventually(() => origin.heard.length === 2, "two requests are under way");
    expect(await gate.say(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 503 .*2 connections open, and may have no more/,
    );
    // What ends gives its place back.
    one.destroy();
    await eventually(
      async () => (await gate.say(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`, "\r\n\r\n")).includes(" 200 "),
      "there is room again",
    );
  });

  test("that leaves a tunnel takes the connection outside with it", async () => {
    let isOver = false;
    await using origin = await openOrigin((socket) => {
      socket.once("end", () => {
        isOver = true;
        socket.end();
      });
    });
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    const client = gate.dial();
    client.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\nx\r\n\r\n`);
    await eventually(() => origin.heard[0]?.includes("\r\n\r\n") === true, "the tunnel stands");
    client.destroy();
    await eventually(() => isOver, "the server sees the end");
  });
});

describe.concurrent("a server", () => {
  test.each([
    ["in a tunnel", (to: string) => `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\nx\r\n\r\n`, /Established\r\n\r\n$/],
    [
      "asked in plain HTTP",
      (to: string) => `GET http://${to}/ HTTP/1.1\r\nHost: ${to}\r\n\r\n`,
      /^(?:$|HTTP\/1\.1 502 )/,
    ],
  ])("that is silent %s is left after a while", async (_what, ask, said) => {
    await using origin = await openOrigin(() => undefined);
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to], bounds: { idleMs: 150 } });
    expect(await gate.say(ask(to))).toMatch(said);
  });

  test("that resets a tunnel ends it", async () => {
    await using origin = await openOrigin((socket) => void socket.resetAndDestroy());
    const to = `127.0.0.1:${origin.port}`;
    await using gate = await openGate({ allow: [to] });
    expect(await gate.say(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\nx\r\n\r\n`)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

test("200 clients one after another leave nothing behind", async () => {
  await using origin = await openOrigin(answerOk);
  const to = `127.0.0.1:${origin.port}`;
  await using gate = await openGate({ allow: [to], bounds: { connectionsMax: 4 } });
  const get = `GET http://${to}/ HTTP/1.1\r\nHost: ${to}\r\nConnection: close\r\n\r\n`;
  for (let n = 0; n < 200; n += 1) {
    // Each third leaves in the middle of it; the bound would be reached at once if that cost a place.
    if (n % 3 === 0)
      connect(gate.socketPath)
        .on("error", () => undefined)
        .end(get.slice(0, 20));
    else await eventually(async () => (await gate.say(get)).includes("hello"), "an answer");
  }
}, 20_000);

test("random pieces of requests and answers break nothing, and leave every place free", async () => {
  const answers = [
    "garbage\r\n\r\n",
    "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    "HTTP/1.1 999 \x01\r\n\r\n",
  ];
  let answered = 0;
  await using origin = await openOrigin((socket) => {
    answered += 1;
    socket.end(answers[answered % answers.length] ?? "");
  });
  const to = `127.0.0.1:${origin.port}`;
  await using gate = await openGate({ allow: [to], bounds: { connectionsMax: 8, idleMs: 200, headMs: 200 } });
  const pieces = [
    ...["GET ", `http://${to}/`, `CONNECT ${to}`, " HTTP/1.1\r\n", `Host: ${to}\r\n`, "\r\n", "Content-Length: 5\r\n"],
    ...[
      "Transfer-Encoding: chunked\r\n",
      "5\r\nabcde\r\n",
      "0\r\n\r\n",
      "Expect: x\r\n",
      "\0",
      "Upgrade: h2c\r\n",
      "hello",
    ],
  ];
  // The same on every run.
  let state = 1;
  const below = (end: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % end;
  };
  const client = async (): Promise<void> => {
    for (let n = 0; n < 60; n += 1) {
      const socket = gate.dial();
      socket.write(below(2) === 0 ? `POST http://${to}/ HTTP/1.1\r\nHost: ${to}\r\n` : "");
      for (let more = below(10); more >= 0; more -= 1) socket.write(pieces[below(pieces.length)] ?? "");
      if (below(3) === 0) socket.destroy();
      else socket.end();
      await everything(socket);
      socket.destroy();
    }
  };
  await Promise.all([1, 2, 3, 4].map(client));

  const tunnels = Array.from({ length: 8 }, () => `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
  await eventually(async () => {
    const said = await Promise.all(tunnels.map((tunnel) => gate.say(tunnel, "\r\n\r\n")));
    return said.every((one) => one.startsWith("HTTP/1.1 200 "));
  }, "all places are free");
}, 20_000);
