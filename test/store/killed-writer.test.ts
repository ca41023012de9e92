/** A writer that is killed at any instant leaves whole facts and nothing half written, and its successor goes on from there. */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import type { Database } from "../../store/database.ts";
import { type ChildProgram, startProgram } from "./fixtures/child-program.ts";
import { aSession, logOf, temporaryStore } from "./store-builder.ts";

const KILLS = 30;
const AT_ONCE = 3;

test("30 kills in mid-work leave no gap, no half step and no repeated result", { timeout: 120_000 }, async () => {
  await using store = await temporaryStore();
  const sessions = await Promise.all(Array.from({ length: AT_ONCE }, () => aSession(store.database)));

  for (let kill = 0; kill < KILLS; kill += AT_ONCE) {
    await Promise.all(sessions.map((sessionId) => workAndDie(store.file, sessionId)));
  }
  // Whatever the kills left, the next one goes on from there to the end of a turn.
  await Promise.all(sessions.map((sessionId) => workToAnEnd(store, sessionId)));

  for (const sessionId of sessions) {
    const said = await countsOf(store.database, sessionId);
    expect(said("turn.completed")).toBeGreaterThan(0);
    await expectWholeTurns(store.database, sessionId, said);
    await expectWholeCalls(store.database, sessionId, said);
  }
});

async function workAndDie(file: string, sessionId: SessionId): Promise<void> {
  await using worker: ChildProgram = startProgram("session-worker.ts", file, sessionId);
  await worker.line();
  await delay(Math.random() * 100); // The instant of the kill is what is random here; nothing waits for it.
  worker.kill();
  expect(await worker.ended).toBe("SIGKILL");
}

async function workToAnEnd(
  store: { readonly file: string; readonly database: Database },
  sessionId: SessionId,
): Promise<void> {
  const turns = store.database.read.selectFrom("turns").select("id").where("session_id", "=", sessionId);
  const ended = async (): Promise<number> => (await turns.where("state", "=", "completed").execute()).length;
  const before = await ended();
  await using worker: ChildProgram = startProgram("session-worker.ts", store.file, sessionId);
  await vi.waitUntil(async () => (await ended()) > before, { timeout: 30_000, interval: 20 });
  worker.kill();
  await worker.ended;
}

type Counts = (...key: readonly (string | number)[]) => number;

/** How often the log says each type, by turn, by turn and step, and by call. Nothing is ever mended, so the end shows it all. */
async function countsOf(database: Database, sessionId: SessionId): Promise<Counts> {
  const counts = new Map<string, number>();
  const add = (...key: readonly unknown[]): void => {
    counts.set(key.join(" "), (counts.get(key.join(" ")) ?? 0) + 1);
  };
  for (const event of await logOf(database, sessionId)) {
    add(event.type);
    if ("turnId" in event) add(event.type, event.turnId);
    if ("turnId" in event && "step" in event) add(event.type, event.turnId, event.step);
    if ("callId" in event) add(event.type, event.callId);
  }
  return (...key) => counts.get(key.join(" ")) ?? 0;
}

/** What the rows say and what the log says are the same, for every turn and step. */
async function expectWholeTurns(database: Database, sessionId: SessionId, said: Counts): Promise<void> {
  const turns = await database.read.selectFrom("turns").selectAll().where("session_id", "=", sessionId).execute();
  expect(said("turn.started")).toBe(turns.length);
  for (const { id: turnId, state, input_tokens } of turns) {
    const steps = await database.read.selectFrom("steps").selectAll().where("turn_id", "=", turnId).execute();
    expect(said("turn.started", turnId)).toBe(1);
    expect(said("turn.completed", turnId)).toBe(state === "completed" ? 1 : 0);
    expect(input_tokens).toBe(3 * steps.filter((step) => step.state === "done").length);
    for (const { step, epoch, state: stepState } of steps) {
      expect(said("step.started", turnId, step)).toBe(1);
      expect(said("step.restarted", turnId, step)).toBe(epoch - 1);
      expect(said("step.completed", turnId, step)).toBe(stepState === "done" ? 1 : 0);
    }
  }
}

async function expectWholeCalls(database: Database, sessionId: SessionId, said: Counts): Promise<void> {
  const calls = await database.read.selectFrom("tool_calls").selectAll().where("session_id", "=", sessionId).execute();
  const transcript = database.read.selectFrom("transcript").select(["position", "role"]);
  const rows = await transcript.where("session_id", "=", sessionId).execute();
  const roles = new Map(rows.map(({ position, role }) => [position, role]));
  for (const { id: callId, outcome, position, stdout_published, epoch } of calls) {
    expect(said("tool.started", callId)).toBe(epoch > 0 || outcome === "error" ? 1 : 0);
    expect(said("tool.output", callId)).toBe(stdout_published);
    expect(said("tool.completed", callId)).toBe(outcome === null ? 0 : 1);
    expect(roles.get(position)).toBe(outcome === null ? undefined : "tool");
    if (outcome === "ok") expect(stdout_published).toBe(3);
  }
}
