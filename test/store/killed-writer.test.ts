/** A writer that is killed at any instant leaves whole facts and nothing half written, and its successor goes on from there. */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { SessionEvent } from "../../contract/events.ts";
import type { SessionId } from "../../contract/ids.ts";
import type { Database } from "../../store/database.ts";
import { type ChildProgram, startProgram } from "./fixtures/child-program.ts";
import { aSession, logOf, temporaryStore } from "./store-builder.ts";

const KILLS = 30;
const AT_ONCE = 3;

test("30 kills in mid-work leave no gap, no half step and no repeated result", { timeout: 40_000 }, async () => {
  await using store = await temporaryStore();
  const sessions = await Promise.all(Array.from({ length: AT_ONCE }, () => aSession(store.database)));

  for (let kill = 0; kill < KILLS; kill += AT_ONCE) {
    await Promise.all(sessions.map((sessionId) => workAndDie(store.file, sessionId)));
    for (const sessionId of sessions) await expectWhole(store.database, sessionId);
  }

  for (const sessionId of sessions) {
    const types = (await logOf(store.database, sessionId)).map((event) => event.type);
    expect(types.filter((type) => type === "turn.completed").length).toBeGreaterThan(0);
  }
});

async function workAndDie(file: string, sessionId: SessionId): Promise<void> {
  await using worker: ChildProgram = startProgram("session-worker.ts", file, sessionId);
  await worker.line();
  await delay(Math.random() * 150); // The instant of the kill is what is random here; nothing waits for it.
  worker.kill();
  expect(await worker.ended).toBe("SIGKILL");
}

/** What the rows say and what the log says are the same, for every turn, step and call. */
async function expectWhole(database: Database, sessionId: SessionId): Promise<void> {
  const log = await logOf(database, sessionId);
  const count = (type: SessionEvent["type"], where: Partial<Record<string, unknown>> = {}): number =>
    log.filter(
      (event) =>
        event.type === type && Object.entries(where).every(([key, value]) => Reflect.get(event, key) === value),
    ).length;
  const turns = await database.read.selectFrom("turns").selectAll().where("session_id", "=", sessionId).execute();
  for (const turn of turns) {
    const turnId = turn.id;
    const steps = await database.read.selectFrom("steps").selectAll().where("turn_id", "=", turnId).execute();
    const done = steps.filter((step) => step.state === "done").length;
    expect(count("turn.started", { turnId })).toBe(1);
    expect(count("turn.completed", { turnId })).toBe(turn.state === "completed" ? 1 : 0);
    expect(turn.input_tokens).toBe(3 * done);
    for (const { step, epoch, state } of steps) {
      expect(count("step.started", { turnId, step })).toBe(1);
      expect(count("step.restarted", { turnId, step })).toBe(epoch - 1);
      expect(count("step.completed", { turnId, step })).toBe(state === "done" ? 1 : 0);
    }
  }
  await expectWholeCalls(database, sessionId, count);
}

async function expectWholeCalls(
  database: Database,
  sessionId: SessionId,
  count: (type: SessionEvent["type"], where: Partial<Record<string, unknown>>) => number,
): Promise<void> {
  const calls = await database.read.selectFrom("tool_calls").selectAll().where("session_id", "=", sessionId).execute();
  const places = await database.read
    .selectFrom("transcript")
    .select(["position", "role"])
    .where("session_id", "=", sessionId)
    .execute();
  for (const { id: callId, outcome, position, stdout_published, epoch } of calls) {
    const isRefused = outcome === "error";
    expect(count("tool.started", { callId })).toBe(epoch > 0 || isRefused ? 1 : 0);
    expect(count("tool.output", { callId })).toBe(stdout_published);
    expect(count("tool.completed", { callId })).toBe(outcome === null ? 0 : 1);
    expect(places.some((place) => place.position === position && place.role === "tool")).toBe(outcome !== null);
    if (outcome === "ok") expect(stdout_published).toBe(3);
  }
}
