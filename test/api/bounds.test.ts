/** What callers who send or read only half may take of the process: bounded all together, and given back at every end. */
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { BodyBudget } from "../../api/body-budget.ts";
import { LIMITS } from "../../contract/limits.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";

let world: ApiWorld;
const sockets: Socket[] = [];
beforeAll(async () => {
  world = await ApiWorld.start();
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});
afterAll(() => world[Symbol.asyncDispose]());

/** A connection that has sent this; what it is answered is gathered, unless it does not read. */
function half(text: string, reads = true): { readonly socket: Socket; readonly answer: () => string } {
  const socket = connect(world.api.port, "127.0.0.1");
  let answer = "";
  socket.on("error", () => undefined);
  const gather = (bytes: Buffer): void => {
    answer += bytes.toString("latin1");
  };
  if (reads) socket.on("data", gather);
  else socket.pause();
  socket.write(text);
  sockets.push(socket);
  return { socket, answer: () => answer };
}

const post = (length: number): string =>
  `POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;

test("bodies that never end are refused when all together are too much, and their place is given back", async () => {
  const most = Math.floor(LIMITS.bodiesBytesMax / LIMITS.bodyBytesMax);
  const open = Array.from({ length: most }, () => half(`${post(LIMITS.bodyBytesMax)}{`));
  const over = half(`${post(LIMITS.bodyBytesMax)}{`);
  await until(() => [...open, over].some(({ answer }) => answer().includes(" 503 ")));
  expect([...open, over].filter(({ answer }) => answer().includes("OVERLOADED"))).toHaveLength(1);
  for (const { socket } of [...open, over]) socket.destroy();
  await until(async () => (await world.call("POST /v1/sessions", { json: {} })).status === 201);
});

test("a stream that is not read holds little, and its reader gets all of it when it reads", async () => {
  const id = await world.createSession({ id: "long" });
  const count = 400;
  await world.append(id, ...Array.from({ length: count }, (_, n) => aDelta(n, "x".repeat(15_000))));
  const before = process.memoryUsage.rss();
  const streams = Array.from({ length: 60 }, () =>
    half(`GET /v1/sessions/${id}/events?stream=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`, false),
  );
  await until(async () => (await (await fetch(`${world.url}/metrics`)).text()).includes('{kind="events"} 60'), 20_000);
  using reader = await world.stream(`/v1/sessions/${id}/events`);
  await reader.frame(count + 1, 15_000);
  // A page each, as it was, would be 180 MB, and its frames as much again.
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 1024 * 1024);
  let bytes = 0;
  const take = (chunk: Buffer): void => {
    bytes += chunk.length;
  };
  streams[0]?.socket.on("data", take).resume();
  await until(() => bytes > count * 15_000, 15_000);
}, 60_000);

test("uploads leave the disk its floor, counting what comes already, and give their share back", async () => {
  const budget = new BodyBudget(world.stateDir);
  await expect(budget.upload(Number.MAX_SAFE_INTEGER / 4, Number.MAX_SAFE_INTEGER)).rejects.toMatchObject({
    code: "INSUFFICIENT_STORAGE",
  });
  const all = await budget.upload(undefined, Number.MAX_SAFE_INTEGER);
  await expect(budget.upload(64 * 1024 * 1024, LIMITS.fileBodyBytesMax)).rejects.toMatchObject({
    code: "INSUFFICIENT_STORAGE",
  });
  all[Symbol.dispose]();
  all[Symbol.dispose]();
  const shares = [];
  for (let n = 0; n < LIMITS.uploadsMax; n++) shares.push(await budget.upload(1, LIMITS.fileBodyBytesMax));
  await expect(budget.upload(1, LIMITS.fileBodyBytesMax)).rejects.toMatchObject({ code: "OVERLOADED" });
  for (const share of shares) share[Symbol.dispose]();
  using last = await budget.upload(1, LIMITS.fileBodyBytesMax);
  expect(last.bytesMax).toBe(1);
});
