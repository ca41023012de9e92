/** Callers who hardly send or hardly read: each is told or ended within its time, and what it held is free again. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { EDGE_BOUNDS } from "../../api/edge-bounds.ts";
import { newId, type SessionId } from "../../contract/ids.ts";
import { recordArtifact } from "../../store/artifacts.ts";
import { receiveMessage } from "../../store/messages.ts";
import { beginTurn } from "../../store/turns.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";
import { get, type Half, HalfClients, post } from "../support/half-client.ts";

const MIB = 1024 * 1024;

vi.setConfig({ testTimeout: 60_000 });

let world: ApiWorld;
let clients: HalfClients;
beforeAll(async () => {
  const patience = { headMs: 1_000, bodyMs: 1_000, idleMs: 4_000, slowMs: 1_000 };
  world = await ApiWorld.start(undefined, { ...EDGE_BOUNDS, ...patience });
  clients = new HalfClients(world.api.port);
});
afterEach(async () => {
  await until(async () => (await metric("perdure_api_held_bytes")) === 0);
  clients[Symbol.dispose]();
});
afterAll(() => world[Symbol.asyncDispose]());

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${world.url}/metrics`)).text();
  const samples = text.split("\n").filter((line) => line.startsWith(name));
  return samples.reduce((all, line) => all + Number(line.split(" ")[1]), 0);
}

const dropped = (): Promise<number> => metric("perdure_api_slow_readers_dropped_total");

async function aLongSession(id: string): Promise<SessionId> {
  const made = await world.createSession({ id });
  await world.append(made, ...Array.from({ length: 500 }, (_, n) => aDelta(n, "x".repeat(15_000))));
  return made;
}

async function anArtifact(sessionId: SessionId, bytes: number): Promise<string> {
  const { database, blobs } = world.store;
  const blob = await blobs.put(randomBytes(bytes));
  const messageId = newId("msg");
  const ids = { sessionId, turnId: newId("turn") };
  await receiveMessage(database, { ...ids, id: messageId, mode: "queue", content: "make it" });
  await database.write((tx) => beginTurn(tx, { ...ids, messageId }));
  const scanned = { path: "large.bin", bytes, modifiedAt: 1 };
  await recordArtifact(database, ids, { scanned, ...blob, contentType: "text/plain" });
  const { body } = await world.call(`GET /v1/sessions/${sessionId}/artifacts`);
  return `/v1/sessions/${sessionId}/artifacts/${(body["artifacts"] as { id: string }[])[0]?.id}`;
}

/** Reads a little again and again, as long as the test lasts. */
function sip({ socket }: Half): void {
  socket.on("readable", () => undefined);
  const timer = setInterval(() => socket.read(64), 50);
  onTestFinished(() => clearInterval(timer));
}

test.each([
  ["nothing at all", ""],
  ["half a request line", "GET /heal"],
  ["half of its headers", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "],
])("a connection that has sent %s in time is told so, and ended", async (_, text) => {
  const { answer, isClosed } = clients.open(text);

  await until(isClosed, 20_000);

  expect(answer()).toMatch(/^HTTP\/1\.1 408 .*"code":"REQUEST_TIMEOUT"/s);
});

test.each([
  ["a length", post(1_000)],
  ["chunks", post(0).replace("Content-Length: 0", "Transfer-Encoding: chunked")],
])("a body of %s that does not come to its end in time is told so, and ended", async (_, head) => {
  const { answer, isClosed } = clients.open(`${head}${head.includes("chunked") ? "1\r\n{\r\n" : "{"}`);

  await until(isClosed, 20_000);

  expect(answer()).toMatch(/^HTTP\/1\.1 408 .*"code":"REQUEST_TIMEOUT"/s);
});

test("a connection between two requests is not ended for that", async () => {
  const { socket, answer } = clients.open(get("/healthz"));
  await until(() => answer().includes(" 200 OK"));
  const stalled = clients.open("GET /");
  await until(stalled.isClosed, 20_000);

  socket.write(get("/healthz"));

  await until(() => answer().split(" 200 OK").length === 3);
});

test("an upload that hardly comes is told so, ended, and leaves nothing", async () => {
  const id = await world.createSession();
  const head = `PUT /v1/sessions/${id}/files/f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n`;
  const { answer, socket, isClosed } = clients.open(head);
  const timer = setInterval(() => socket.write("x"), 50);

  await until(() => answer().includes("\r\n\r\n"), 10_000).finally(() => clearInterval(timer));

  expect(answer()).toMatch(/^HTTP\/1\.1 408 .*"code":"REQUEST_TIMEOUT"/s);
  await until(isClosed, 20_000);
  expect(world.sessions.files.size).toBe(0);
});

test("a stream that nobody reads is ended, and its reader can come back for the rest", async () => {
  const id = await aLongSession("unread-stream");
  const before = await dropped();
  const { isClosed, socket } = clients.open(get(`/v1/sessions/${id}/events?stream=1`), { reads: false });

  await until(async () => (await dropped()) > before, 20_000);

  expect(await metric("perdure_api_held_bytes")).toBe(0);
  socket.resume();
  await until(isClosed);
  using reader = await world.stream(`/v1/sessions/${id}/events?after=400`);
  await reader.frame(100, 20_000);
});

test.each([
  ["not at all", false],
  ["by sips", true],
])("a page that is read %s is ended", async (_, sips) => {
  const id = await aLongSession(`unread-page-${sips}`);
  const before = await dropped();
  const client = clients.open(get(`/v1/sessions/${id}/events?limit=1000`), { reads: false });
  await until(async () => (await metric("perdure_api_held_bytes")) > MIB);

  if (sips) sip(client);

  await until(async () => (await dropped()) > before, 20_000);
});

test.each([
  ["not at all", false],
  ["by sips", true],
])("an artifact that is read %s is ended", async (_, sips) => {
  const id = await world.createSession();
  const target = await anArtifact(id, 24 * MIB);
  const before = await dropped();
  const client = clients.open(get(target), { reads: false });

  if (sips) sip(client);

  await until(async () => (await dropped()) > before, 20_000);
});

test("an archive that nobody reads is ended, and its bytes in transit are removed", async () => {
  const id = await world.createSession();
  const { id: transit, ...sum } = await world.store.transit.put(randomBytes(24 * MIB));
  world.sessions.answers.push({ found: "archive", transit, ...sum });
  const before = await dropped();
  clients.open(get(`/v1/sessions/${id}/files?archive=tar`), { reads: false });

  await until(async () => (await dropped()) > before, 20_000);

  await until(async () => {
    const left = await world.store.transit.open(transit).catch(() => undefined);
    left?.destroy();
    return left === undefined;
  });
});
