/** A workspace of which no snapshot can be taken: it is said, nobody waits for it, and nothing of it is taken away. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { scripted, startWorld, type World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const bash = (command: string) => ({ tools: [{ name: "bash", args: { command } }] });

test("what is too large to be kept is said once for each turn, holds up no message, and outlives its idle time", async () => {
  const session = await world.createSession({ sandbox: { idleTimeoutMs: 1_000 } });
  const stream = session.stream();
  await session.post(scripted(bash("truncate -s 21G sparse; echo precious > note"), { text: "one" }));
  const first = await stream.next("workspace.unkept");
  expect(first).toMatchObject({ reason: "too_large", generation: 1 });
  expect(first.message).toMatch(/snapshot/);

  await session.post(scripted(bash("cat note"), { text: "two" }));
  await stream.until("it is said again", () => stream.ofType("workspace.unkept").length === 2);
  await session.post(scripted(bash("sleep 2.5; cat note; rm sparse"), { text: "three" }));
  await stream.until("it is kept after all", () => stream.ofType("sandbox.snapshotted").length > 0);

  expect(stream.ofType("turn.completed")).toHaveLength(3);
  expect(stream.ofType("sandbox.ready")).toHaveLength(1);
  const turns = stream.ofType("turn.started").map(({ turnId }) => turnId);
  expect(stream.ofType("workspace.unkept").map(({ turnId }) => turnId)).toEqual(turns.slice(0, 2));
});
