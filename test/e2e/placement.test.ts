/** Workers of one stack that differ, and sessions that ask for more than their share: work finds its worker, and nobody waits for a stranger. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { type SecondWorker, startSecondWorker } from "../support/second-worker.ts";
import { scripted, startWorld, type World, waitFor } from "../support/world.ts";

const folder = mkdtempSync(path.join(tmpdir(), "perdure-placement-"));
let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** A second worker on the same host, which has the tool that the stack's own lacks. */
function aGiftedWorker(): Promise<SecondWorker> {
  return startSecondWorker(world, {
    PERDURE_MODEL: "scripted-model",
    PERDURE_TOOLS: path.resolve("test/e2e/fixtures/effect-tools.ts"),
    EFFECTS_FOLDER: folder,
  });
}

const agent = { tools: ["effect_safe"] };
const call = (name: string): string => {
  writeFileSync(path.join(folder, `${name}.go`), "");
  return scripted({ tools: [{ name: "effect_safe", args: { name } }] }, { text: "done" });
};

async function aSessionFor(given: object) {
  let made: Awaited<ReturnType<World["createSession"]>> | undefined;
  await waitFor("a worker with the tool has announced itself", async () => {
    made = await world.createSession({ agent: given }).catch(() => undefined);
    return made !== undefined;
  });
  if (!made) throw new Error("there is a session by now");
  return made;
}

test("of two workers one has the tool: every turn that needs it ends well", async () => {
  await using _gifted = await aGiftedWorker();

  for (let turn = 0; turn < 6; turn++) {
    const session = await aSessionFor(agent);
    const stream = session.stream();
    await session.post(call(`turn-${turn}`));
    const end = await stream.next("turn.completed", undefined, 60_000);
    expect(end).toMatchObject({ output: "done" });
  }
}, 180_000);

test("a turn whose tool's worker was killed says what it waits for, and goes on with the next one that has it", async () => {
  const first = await aGiftedWorker();
  const session = await aSessionFor(agent);
  await first.kill();
  const stream = session.stream();

  await session.post(call("later"));
  const waiting = await stream.next("step.waiting", undefined, 60_000);
  await using _second = await aGiftedWorker();
  const end = await stream.next("turn.completed", undefined, 60_000);

  expect(waiting).toMatchObject({ step: 1, missing: ["tool effect_safe"] });
  expect(end).toMatchObject({ output: "done" });
}, 180_000);

test("two sessions that ask for all they can get stop nobody else", async () => {
  const greedy = [await world.createSession(), await world.createSession()];
  const sleeps = Array.from({ length: 20 }, () => ({ name: "bash", args: { command: "sleep 600" } }));
  for (const session of greedy) {
    await session.post(scripted({ tools: sleeps }));
    for (let number = 0; number < LIMITS.commandsOpenMax; number++) {
      const made = await world.request("POST", `/v1/sessions/${session.id}/commands`, { command: "sleep 600" });
      expect(made.status).toBe(202);
    }
  }

  const other = await world.createSession();
  const stream = other.stream();
  await other.post(
    scripted({ tools: [{ name: "bash", args: { command: "sleep 0.3; echo through" } }] }, { text: "done" }),
  );
  await stream.next("turn.completed", undefined, 60_000);
  const ran = await world.request("POST", `/v1/sessions/${other.id}/commands?wait=60s`, { command: "echo too" });
  const listed = await world.request("GET", `/v1/sessions/${other.id}/files/`);

  expect(ran).toMatchObject({ status: 200, body: { outcome: "ok" } });
  expect(listed.status).toBe(200);
  for (const { id } of greedy) {
    const running = await world.request<{ commands: unknown[] }>(
      "GET",
      `/v1/sessions/${id}/commands?state=running&limit=200`,
    );
    expect(running.body.commands.length).toBeLessThanOrEqual(LIMITS.commandsAtOnce);
  }
  // A hundred programs are ended with each: a slow machine takes longer for it than one request waits, which says to try again.
  for (const { id } of greedy) {
    const removed = async () => (await world.request("DELETE", `/v1/sessions/${id}`)).status;
    await waitFor(`${id} is deleted`, async () => [204, 404].includes(await removed()), 60_000);
  }
}, 240_000);
