/** A session's share of the workers: what it asks for beyond that waits in order, alone, and is never lost. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { CallId, SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { beginCommand, endCommand } from "../../store/commands.ts";
import { ApiWorld, until } from "../support/api-world.ts";

const SHARE = LIMITS.commandsAtOnce;

let world: ApiWorld;
beforeAll(async () => {
  world = await ApiWorld.start();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});
beforeEach(() => {
  world.sessions.recover();
  world.sessions.commands.length = 0;
});

const told = (id: SessionId): readonly string[] => [
  ...new Set(world.sessions.commands.filter(({ sessionId }) => sessionId === id).map(({ callId }) => callId)),
];

async function postMany(id: SessionId, name: string, count: number): Promise<readonly CallId[]> {
  const ids = Array.from({ length: count }, (_, number) => `call_${name}${String(number).padStart(3, "0")}` as CallId);
  for (const callId of ids) {
    const json = { command: "sleep 600", id: callId };
    expect((await world.call(`POST /v1/sessions/${id}/commands`, { json })).status).toBe(202);
  }
  return ids;
}

async function end(sessionId: SessionId, callId: CallId): Promise<void> {
  const begun = await beginCommand(world.store.database, { sessionId, callId }, undefined);
  if (begun.state !== "begun") throw new Error("it has ended");
  const ending = { outcome: "ok" as const, exitCode: 0, text: "", facts: [], attempt: undefined };
  await endCommand(world.store.database, begun, ending);
}

test("two sessions with as many commands as they may have take only their shares, and a third one's runs at once", async () => {
  const [one, two, three] = [await world.createSession(), await world.createSession(), await world.createSession()];

  const ofOne = await postMany(one, "one", LIMITS.commandsOpenMax);
  await postMany(two, "two", LIMITS.commandsOpenMax);
  const ofThree = await postMany(three, "three", 1);

  expect(told(one)).toEqual(ofOne.slice(0, SHARE));
  expect(told(two)).toHaveLength(SHARE);
  expect(told(three)).toEqual(ofThree);
  const waiting = await world.call(`GET /v1/sessions/${one}/commands/${ofOne.at(-1)}`);
  expect(waiting).toMatchObject({ status: 200, body: { state: "planned", startedAt: null } });
});

test("each command that ends leaves its place to the next in order, until all have run", async () => {
  const id = await world.createSession();
  const ids = await postMany(id, "order", SHARE + 20);

  for (const [number, callId] of ids.entries()) {
    await until(() => told(id).includes(callId));
    await end(id, callId);
    const next = ids[number + SHARE];
    if (next !== undefined) await until(() => told(id).includes(next));
    expect(told(id).length).toBeLessThanOrEqual(number + 1 + SHARE);
  }

  expect(told(id)).toEqual(ids);
});

test("one that waits for its share and is stopped never runs, and leaves its place to the one behind it", async () => {
  const id = await world.createSession();
  const ids = await postMany(id, "stopped", SHARE + 2);
  const [first, waiting, behind] = [ids[0], ids[SHARE], ids[SHARE + 1]];
  if (!first || !waiting || !behind) throw new Error("there are more than the share");

  const stopped = await world.call(`DELETE /v1/sessions/${id}/commands/${waiting}`);
  await end(id, first);

  expect(stopped).toMatchObject({ status: 200, body: { state: "done", outcome: "interrupted" } });
  await until(() => told(id).includes(behind));
  expect(told(id)).not.toContain(waiting);
});
