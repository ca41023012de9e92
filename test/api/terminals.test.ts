/** A terminal over WebSocket: what is refused before it is one, who watches and who writes, and clients that misbehave. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SessionId, TerminalId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../store/session-closing.ts";
import {
  closeTerminal,
  findTerminal,
  inputAfter,
  openTerminal,
  takeTerminal,
  writeProgress,
} from "../../store/terminals.ts";
import { ApiWorld } from "../support/api-world.ts";
import { askForTerminal, openTerminalClient, TerminalClient } from "../support/terminal-client.ts";
import { waitFor } from "../support/world.ts";

let world: ApiWorld;

beforeAll(async () => {
  world = await ApiWorld.start();
});

afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

async function aSession(): Promise<SessionId> {
  return await world.createSession();
}

const route = (sessionId: string, query = ""): string => `/v1/sessions/${sessionId}/terminal${query}`;

/** What a worker would do with the session's next terminal: it opens it, and prints what the test says. */
class Shell {
  readonly sessionId: SessionId;
  readonly terminalId: TerminalId;
  #last = 0;

  constructor(sessionId: SessionId, terminalId: TerminalId) {
    this.sessionId = sessionId;
    this.terminalId = terminalId;
  }

  async print(text: string, keptFrom = 0): Promise<void> {
    const output = [{ number: ++this.#last, bytes: Buffer.from(text) }];
    await writeProgress(world.store.database, this.terminalId, { output, keptFrom, inputTaken: 0 });
  }

  async typed(): Promise<string> {
    const frames = await inputAfter(world.store.database, this.terminalId, 0);
    return Buffer.concat(frames.map(({ bytes }) => bytes)).toString();
  }

  async close(reason: string): Promise<void> {
    await closeTerminal(world.store.database, this, reason);
  }
}

async function served(sessionId: SessionId): Promise<Shell> {
  const asked = (): TerminalId | undefined =>
    world.sessions.terminals.findLast((key) => key.sessionId === sessionId)?.terminalId;
  const before = asked();
  await waitFor("the terminal is asked for", () => asked() !== before);
  const shell = new Shell(sessionId, asked() as TerminalId);
  await openTerminal(world.store.database, shell, undefined);
  return shell;
}

async function aTerminal(sessionId: SessionId, query = ""): Promise<{ client: TerminalClient; shell: Shell }> {
  const [shell, client] = await Promise.all([served(sessionId), openTerminalClient(world, sessionId, query)]);
  return { client, shell };
}

describe("before the upgrade, a problem document says", () => {
  const refused = async (where: string, headers: Record<string, string> = {}) => {
    const answer = await askForTerminal(world.url, where, headers);
    if (answer instanceof TerminalClient) throw new Error("it was not refused");
    expect(answer.body).toMatchObject({ status: answer.status, title: expect.any(String) });
    return `${answer.status} ${String(answer.body["code"])}: ${String(answer.body["detail"])}`;
  };

  test("that there is no such session, route or terminal", async () => {
    const id = await aSession();
    expect(await refused(route("nobody"))).toMatch(/^404 SESSION_NOT_FOUND/);
    expect(await refused("/v1/sessions")).toMatch(/^404 NOT_FOUND/);
    expect(await refused(route(id, "?terminal=term_other"))).toMatch(/^404 NOT_FOUND.*term_other/);
    expect(await refused(route(id, "?watch=true"))).toMatch(/^404 NOT_FOUND.*no open terminal/);
    expect(await refused(route("a%2Fb"))).toMatch(/^400 INVALID_INPUT/);
  });

  test.each([
    ["?columns=0", "columns"],
    ["?columns=80x", "columns"],
    ["?rows=9999", "rows"],
    ["?rows=10&rows=20", "rows"],
    ["?watch=yes", "watch"],
    ["?terminal=../x", "terminal"],
    ["?size=80", "size"],
  ])("what is wrong with %s", async (query, name) => {
    expect(await refused(route(await aSession(), query))).toMatch(new RegExp(`^400 INVALID_INPUT.*${name}`));
  });

  test("that pages of others and foreign names of this server may not", async () => {
    const id = await aSession();
    expect(await refused(route(id), { origin: "https://evil.test" })).toMatch(/^403 FORBIDDEN.*evil/);
    expect(await refused(route(id), { host: "rebound.test" })).toMatch(/^403 FORBIDDEN.*rebound/);
    expect(world.sessions.terminals.some(({ sessionId }) => sessionId === id)).toBe(false);
  });

  test("that the session is closed, that Temporal is away, and why a worker did not open it", async () => {
    const closed = await aSession();
    await closeSession(world.store.database, closed);
    expect(await refused(route(closed))).toMatch(/^409 SESSION_CLOSED/);

    const id = await aSession();
    world.sessions.failFor("unreachable", id);
    expect(await refused(route(id))).toMatch(/^503 UNAVAILABLE/);
    world.sessions.recover();

    const asking = refused(route(id));
    await waitFor("it is asked for", () => world.sessions.terminals.some(({ sessionId }) => sessionId === id));
    const key = world.sessions.terminals.find(({ sessionId }) => sessionId === id);
    await closeTerminal(
      world.store.database,
      key ?? (await Promise.reject(new Error("no key"))),
      "there is no shell in it",
    );
    expect(await asking).toMatch(/^409 CONFLICT.*there is no shell in it/);
  });

  test("that too many are open, and which; those that failed before do not count", async () => {
    const id = await aSession();
    const open = [];
    for (let number = 0; number < LIMITS.terminalsPerSession; number++) open.push(await aTerminal(id));
    const first = open[0];
    if (!first) throw new Error("none was opened");

    expect(await refused(route(id))).toMatch(new RegExp(`^429 TOO_MANY_TERMINALS.*${first.client.id}`));

    await first.shell.close("the shell has ended");
    open.push(await aTerminal(id));
    for (const { client } of open) await client[Symbol.asyncDispose]();
  });

  test("to a plain request, that this is a WebSocket", async () => {
    const answer = await world.call(`GET ${route(await aSession())}`);

    expect(answer.status).toBe(426);
    expect(answer.headers.get("upgrade")).toBe("websocket");
  });
});

test("an upgrade to something else is answered as the plain request that it is as well", async () => {
  const port = Number(new URL(world.url).port);
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () =>
      socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"),
    );
    let text = "";
    socket.on("data", (piece) => {
      text += piece.toString();
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });

  expect(answer).toMatch(/^HTTP\/1.1 200/);
});

describe("an open terminal", () => {
  test("is announced, shows what is printed, takes what is typed, and tells its end with the reason", async () => {
    const id = await aSession();
    const { client, shell } = await aTerminal(id, "?columns=100&rows=30");
    await using _ = client;

    await client.until("it may write", (one) => one.isWriter);
    client.type("ls\r");
    client.say({ type: "input", data: "é\r" });
    await waitFor("it was typed", async () => (await shell.typed()) === "ls\ré\r");
    await shell.print("a file\r\n");
    await client.until("it is printed", (one) => one.printed === "a file\r\n");
    client.say({ type: "resize", columns: 120, rows: 40 });
    await client.until("it is resized", (one) => one.notices.some(({ type }) => type === "resized"));
    await shell.close("the shell has ended");
    await client.until("it is closed", (one) => one.closeCode !== undefined);

    expect(client.notices[0]).toEqual({ type: "opened", terminalId: shell.terminalId, columns: 100, rows: 30 });
    expect(client.notices).toContainEqual({ type: "resized", columns: 120, rows: 40 });
    expect(client.notices.filter(({ type }) => type === "writer")).toEqual([{ type: "writer", you: true }]);
    expect(client.closedReason).toBe("the shell has ended");
    expect(client.closeCode).toBe(1000);
    const { body } = await world.call(`GET /v1/sessions/${id}/events`);
    const events = body["events"] as readonly { readonly type: string }[];
    expect(events.filter(({ type }) => type.startsWith("terminal."))).toMatchObject([
      { type: "terminal.opened", terminalId: shell.terminalId },
      { type: "terminal.closed", reason: "the shell has ended" },
    ]);
  });

  test("has many watchers and one writer: the first, until another takes over or it leaves", async () => {
    const id = await aSession();
    const { client: first, shell } = await aTerminal(id);
    await shell.print("before\r\n");
    await using second = await openTerminalClient(world, id, `?terminal=${first.id}`);
    await using watcher = await openTerminalClient(world, id, "?watch=true");
    const all = [first, second, watcher];
    for (const one of all) await one.until("it sees what was before", ({ printed }) => printed === "before\r\n");
    await first.until("the first writes", (one) => one.isWriter);

    second.type("no");
    watcher.say({ type: "take" });
    second.say({ type: "resize", columns: 10, rows: 10 });
    await second.until("it is refused twice", (one) => one.refusals.length === 2);
    await watcher.until("it is refused", (one) => one.refusals.length === 1);
    expect(second.refusals.join()).toContain("another is the writer");
    expect(watcher.refusals[0]).toContain("only to watch");

    second.say({ type: "take" });
    await second.until("it writes", (one) => one.isWriter);
    await first.until("it writes no more", (one) => !one.isWriter);
    second.type("yes");
    first.type("no");
    await waitFor("it was typed", async () => (await shell.typed()) === "yes");
    await shell.print("after");
    for (const one of all) await one.until("it sees it", ({ printed }) => printed === "before\r\nafter");

    await second[Symbol.asyncDispose]();
    await waitFor(
      "nobody writes",
      async () => (await findTerminal(world.store.database, shell.terminalId))?.writer === null,
    );
    first.say({ type: "take" });
    await first.until("it writes again", (one) => one.isWriter);
    await first[Symbol.asyncDispose]();
  });

  test("goes on without watchers, and shows who comes back what is kept of it", async () => {
    const id = await aSession();
    const { client, shell } = await aTerminal(id);
    await client[Symbol.asyncDispose]();
    await shell.print("x".repeat(100));
    await shell.print("kept\r\n", 2);
    // Of a writer whose process was killed nothing is left but its name.
    const writer = "99999999:boot:1/killed";
    await takeTerminal(world.store.database, shell.terminalId, { writer, ifFree: false });

    await using again = await openTerminalClient(world, id, `?terminal=${shell.terminalId}`);
    await again.until("it sees it", ({ printed }) => printed === "kept\r\n");
    await again.until("it may write", (one) => one.isWriter);
    await shell.close("closed by the test");
  });

  test("says so when something was dropped before it could be shown", async () => {
    const { client, shell } = await aTerminal(await aSession());
    await using _ = client;
    await client.until("it may write", (one) => one.isWriter);
    const database = world.store.database;
    const output = [5, 6].map((number) => ({ number, bytes: Buffer.from(`${number}`) }));
    await writeProgress(database, shell.terminalId, { output, keptFrom: 5, inputTaken: 0 });

    await client.until("it is shown", ({ printed }) => printed === "56");

    expect(client.notices.filter(({ type }) => type === "skipped")).toHaveLength(1);
    await shell.close("end");
  });

  test("has a worker that says that it is there; one that is silent for too long is gone", async () => {
    const id = await aSession();
    const { client, shell } = await aTerminal(id);
    await using _ = client;
    const longAgo = Date.now() - LIMITS.terminalLostMs - 1;
    await world.store.database.write((tx) =>
      tx.updateTable("terminals").set({ served_at: longAgo }).where("id", "=", shell.terminalId).execute(),
    );

    await client.until("it is closed", (one) => one.closeCode !== undefined);

    expect(client.closedReason).toBe("the worker that served it is gone");
  });
});

test("a terminal whose worker and watchers have all gone is closed when the next one is opened", async () => {
  const id = await aSession();
  const { client, shell } = await aTerminal(id);
  await client[Symbol.asyncDispose]();
  await waitFor(
    "nobody writes",
    async () => (await findTerminal(world.store.database, shell.terminalId))?.writer === null,
  );
  const longAgo = Date.now() - LIMITS.terminalLostMs - 1_000;
  await world.store.database.write((tx) =>
    tx.updateTable("terminals").set({ served_at: longAgo }).where("id", "=", shell.terminalId).execute(),
  );

  const { client: next, shell: another } = await aTerminal(id);

  expect(await findTerminal(world.store.database, shell.terminalId)).toMatchObject({
    state: "closed",
    reason: "the worker that served it is gone",
  });
  await another.close("end");
  await next[Symbol.asyncDispose]();
});

describe("a client that misbehaves", () => {
  test.each([
    ["no JSON", "ls\r"],
    ["JSON that is no message", "[1]"],
    ["an unknown message", { type: "exec", command: "id" }],
    ["a size out of range", { type: "resize", columns: 0, rows: 99_999 }],
    ["a field too many", { type: "take", token: "other" }],
    ["JSON that goes deep", "[".repeat(5_000)],
  ])("with %s is told what was expected, and the terminal is not hurt", async (_, message) => {
    const { client, shell } = await aTerminal(await aSession());
    await using _client = client;
    client.say(message);

    await client.until("it is refused", (one) => one.refusals.length === 1);

    expect(client.refusals[0]).toContain('{"type":"resize"');
    await shell.print("fine");
    await client.until("it goes on", ({ printed }) => printed === "fine");
    await shell.close("end");
  });

  test("with frames that are too large, or with nonsense without end, is disconnected; the others stay", async () => {
    const id = await aSession();
    const { client, shell } = await aTerminal(id);
    await using _ = client;
    await using huge = await openTerminalClient(world, id, `?terminal=${client.id}`);
    await using noisy = await openTerminalClient(world, id, `?terminal=${client.id}`);

    huge.type("x".repeat(LIMITS.terminalMessageBytesMax + 1));
    for (let count = 0; count < LIMITS.terminalRefusalsMax; count++) noisy.say("nonsense");

    await huge.until("it is closed", (one) => one.closeCode === 1009);
    await noisy.until("it is closed", (one) => one.closeCode === 1008);
    await shell.print("fine");
    await client.until("it goes on", ({ printed }) => printed === "fine");
    await shell.close("end");
  });

  test("that types faster than the shell reads is told so, and no more than so much waits", async () => {
    const { client, shell } = await aTerminal(await aSession());
    await using _ = client;
    await client.until("it may write", (one) => one.isWriter);
    for (let count = 0; count < LIMITS.terminalMessagesWaiting + 10; count++) client.type("x");

    await client.until("it is refused", (one) => one.refusals.length > 0);

    expect(client.refusals[0]).toContain("has not yet read");
    expect((await shell.typed()).length).toBeLessThanOrEqual(LIMITS.terminalMessagesWaiting + 1);
    await shell.close("end");
  });

  test("that does not read is let go, and those who do see everything", async () => {
    const id = await aSession();
    const { client, shell } = await aTerminal(id);
    await using _ = client;
    await using slow = await openTerminalClient(world, id, `?terminal=${client.id}`);
    slow.pause();
    const piece = "y".repeat(LIMITS.terminalKeptBytes);
    for (let count = 1; count <= 60; count++) {
      await shell.print(piece, count);
      await client.until("it has read it", ({ printed }) => printed.length === count * piece.length);
    }
    slow.resume();
    await slow.until("it is closed", (one) => one.closeCode !== undefined);

    expect([1006, 1008]).toContain(slow.closeCode);
    expect(client.closeCode).toBeUndefined();
    await shell.close("end");
  });
});

test("a server that goes down tells its watchers, and the terminal stays open", async () => {
  await using own = await ApiWorld.start();
  const id = await own.createSession();
  const asking = openTerminalClient(own, id);
  await waitFor("it is asked for", () => own.sessions.terminals.length === 1);
  const key = own.sessions.terminals[0];
  if (!key) throw new Error("no key");
  await openTerminal(own.store.database, key, undefined);
  await using client = await asking;
  await client.until("it may write", (one) => one.isWriter);

  await own.api.drain();
  await client.until("it is closed", (one) => one.closeCode !== undefined);

  expect(client.closeCode).toBe(1012);
  expect(client.closedReason).toContain("the terminal stays open");
  expect((await findTerminal(own.store.database, key.terminalId))?.state).toBe("open");
});
