/** What callers who send or read only half may take of the process: bounded all together and for one, and given back at every end. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { BodyBudget } from "../../api/body-budget.ts";
import { EDGE_BOUNDS } from "../../api/edge-bounds.ts";
import { LIMITS } from "../../contract/limits.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";
import { get, HalfClients, post } from "../support/half-client.ts";

const MIB = 1024 * 1024;
const OTHER = "127.0.0.2";
const ANY_SIZE = Number.MAX_SAFE_INTEGER;

let world: ApiWorld;
let clients: HalfClients;
beforeAll(async () => {
  world = await ApiWorld.start(undefined, { ...EDGE_BOUNDS, streams: 8, answersBytes: 12 * MIB, connections: 200 });
  clients = new HalfClients(world.api.port);
});
afterEach(async () => {
  clients[Symbol.dispose]();
  await until(async () => (await gauge("held_bytes")) === 0 && (await gauge("streams_open")) === 0);
});
afterAll(() => world[Symbol.asyncDispose]());

/** The sum of the samples of one of its metrics. */
async function gauge(name: string): Promise<number> {
  const text = await (await fetch(`${world.url}/metrics`)).text();
  const samples = text.split("\n").filter((line) => line.startsWith(`perdure_api_${name}`));
  return samples.reduce((all, line) => all + Number(line.split(" ")[1]), 0);
}

/** Of this process, without what nobody holds any more. */
function heldBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test("bodies that never end are refused beyond a caller's share, which others do not feel, and their place is given back", async () => {
  const half = LIMITS.bodiesBytesMax / LIMITS.bodyBytesMax / 2;
  const open = Array.from({ length: half }, () => clients.open(`${post(LIMITS.bodyBytesMax)}{`));
  await until(async () => (await gauge("held_bytes")) === half * LIMITS.bodyBytesMax);
  const over = clients.open(`${post(LIMITS.bodyBytesMax)}{`);
  const other = clients.open(`${post(2)}{}`, { from: OTHER });

  await until(() => over.answer().includes("OVERLOADED") && other.answer().includes(" 201 "));

  expect(open.map(({ answer }) => answer()).join("")).toBe("");
  for (const { socket } of open) socket.destroy();
  await until(async () => (await world.call("POST /v1/sessions", { json: {} })).status === 201);
});

test("a compressed body counts as what it may become", async () => {
  const bomb = gzipSync(Buffer.alloc(LIMITS.bodyBytesMax - 1, " "));
  clients.open(post(bomb.length + 1, ["Content-Encoding: gzip"])).socket.write(bomb);

  await until(async () => (await gauge("held_bytes")) === LIMITS.bodyBytesMax);
});

test("a body is counted as long as somebody waits for its answer", async () => {
  const id = await world.createSession();
  const json = JSON.stringify({ content: "x".repeat(1_000_000) });
  const target = `/v1/sessions/${id}/messages?wait=2m`;
  const head = post(json.length).replace("/v1/sessions", target);
  clients.open(head + json);

  await until(async () => (await world.store.database.read.selectFrom("messages").selectAll().execute()).length === 1);

  expect(await gauge("held_bytes")).toBe(json.length);
});

test("streams that are not read hold little, and a reader gets all of it when it reads", async () => {
  const id = await world.createSession({ id: "long" });
  const count = 400;
  await world.append(id, ...Array.from({ length: count }, (_, n) => aDelta(n, "x".repeat(15_000))));
  const before = heldBytes();
  const streams = Array.from({ length: 8 }, (_, n) =>
    clients.open(get(`/v1/sessions/${id}/events?stream=1`), { reads: false, from: `127.0.0.${n + 3}` }),
  );
  // The first alone may have half of the eight; each address is a caller.
  await until(async () => (await gauge("streams_open")) >= 7, 20_000);
  await until(async () => (await gauge("held_bytes")) > 0, 20_000);

  // A page each, as it was, would be 3 MB, and its frames as much again.
  expect(await gauge("held_bytes")).toBeLessThan(8 * 4 * LIMITS.streamAheadBytes);
  expect(heldBytes() - before).toBeLessThan(8 * MIB);

  let bytes = 0;
  streams[0]?.socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  streams[0]?.socket.resume();
  await until(() => bytes > count * 15_000, 15_000);
}, 60_000);

test("one caller gets half of the streams, and another one is served", async () => {
  const id = await world.createSession({ id: "shared" });
  const stream = get(`/v1/sessions/${id}/events?stream=1`);
  for (let n = 1; n <= 4; n++) {
    clients.open(stream);
    await until(async () => (await gauge("streams_open")) === n);
  }

  const over = clients.open(stream);
  const other = clients.open(stream, { from: OTHER });

  await until(() => over.answer().includes("TOO_MANY_STREAMS") && other.answer().includes(" 200 "));
});

test("pages that are not read are refused beyond a caller's share, which others do not feel, and are given back", async () => {
  const id = await world.createSession({ id: "pages" });
  await world.append(id, ...Array.from({ length: 300 }, (_, n) => aDelta(n, "x".repeat(15_000))));
  const page = get(`/v1/sessions/${id}/events?limit=1000`);
  clients.open(page, { reads: false });
  await until(async () => (await gauge("held_bytes")) > 4 * MIB);

  const over = clients.open(page);
  await until(() => over.answer().includes("OVERLOADED"));
  const other = clients.open(page, { from: OTHER });

  await until(() => other.answer().length > 4 * MIB);
});

test("a page of events ends before it is too large, and the next one goes on", async () => {
  const id = await world.createSession({ id: "large" });
  await world.append(id, ...Array.from({ length: 800 }, (_, n) => aDelta(n, "x".repeat(15_000))));
  const seen: number[] = [];
  let pages = 0;
  for (let after = 0; ; pages++) {
    const { body, bytes } = await world.call(`GET /v1/sessions/${id}/events?limit=1000&after=${after}`);
    const events = body["events"] as { seq: number }[];
    expect(bytes.length).toBeLessThan(LIMITS.pageBytesMax * 1.1);
    if (events.length === 0) break;
    seen.push(...events.map(({ seq }) => seq));
    after = Number(body["next"]);
  }

  expect(pages).toBe(2);
  expect(seen).toEqual(Array.from({ length: 801 }, (_, n) => n + 1));
});

test("requests that do not wait for the answers before them are few on one connection", async () => {
  const id = await world.createSession({ id: "piped" });
  const piped = clients.open(get(`/v1/sessions/${id}/events?stream=1`) + get("/healthz").repeat(20));
  await until(() => piped.answer().includes("session.created"));
  const patient = clients.open(get("/healthz").repeat(LIMITS.requestsPerConnection));
  await until(() => patient.answer().split(" 200 OK").length > LIMITS.requestsPerConnection);

  await world.call(`DELETE /v1/sessions/${id}`);

  await until(() => piped.isClosed());
  expect(piped.answer().split(" 200 OK").length - 1).toBe(LIMITS.requestsPerConnection);
  expect(piped.answer().split('"code":"OVERLOADED"').length - 1).toBe(1);
});

test("one who opens all connections leaves half of them to others", async () => {
  const idle = Array.from({ length: 150 }, () => clients.open("GET /"));
  await until(() => idle.filter(({ isClosed }) => isClosed()).length >= 49);

  const other = clients.open(get("/healthz"), { from: OTHER });

  await until(() => other.answer().includes(" 200 "));
});

test("uploads leave the disk its floor, counting what comes already, and give their share back", async () => {
  const budget = new BodyBudget(world.stateDir);
  const tooMuch = { caller: "a", length: ANY_SIZE / 8, bytesMax: ANY_SIZE };
  await expect(budget.upload(tooMuch)).rejects.toMatchObject({ code: "INSUFFICIENT_STORAGE" });
  const one = await budget.upload({ caller: "a", length: 64 * MIB, bytesMax: LIMITS.fileBodyBytesMax });
  one[Symbol.dispose]();
  one[Symbol.dispose]();

  const shares = [];
  for (let n = 0; n < LIMITS.uploadsMax / 2; n++) {
    shares.push(await budget.upload({ caller: "a", length: 1, bytesMax: 10 }));
  }
  const another = { caller: "a", length: 1, bytesMax: 10 };
  await expect(budget.upload(another)).rejects.toMatchObject({ code: "OVERLOADED" });
  using other = await budget.upload({ ...another, caller: "b" });
  expect(other.bytesMax).toBe(1);
  for (const share of shares) share[Symbol.dispose]();
  using last = await budget.upload(another);
  expect(last.bytesMax).toBe(1);
});

test("an upload of unknown length takes room as it comes, and is told of a full disk when there is none", async () => {
  const budget = new BodyBudget(world.stateDir);
  using all = await budget.upload({ caller: "a", length: undefined, bytesMax: 100 });
  using more = await budget.upload({ caller: "b", length: undefined, bytesMax: 100 });
  expect([all.bytesMax, more.bytesMax]).toEqual([100, 100]);
  all.meter?.write(Buffer.from("few"));
  await until(() => all.meter?.readableLength === 3);

  const failed = Promise.withResolvers<unknown>();
  more.meter?.on("error", failed.resolve);
  // More than any disk has: only its length is looked at.
  more.meter?.write(Object.defineProperty(Buffer.from("x"), "length", { value: ANY_SIZE / 8 }));

  expect(await failed.promise).toMatchObject({ code: "INSUFFICIENT_STORAGE" });
});
