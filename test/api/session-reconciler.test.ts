/** Rows and workflows that do not agree: what is done, when, and what is left alone. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SessionReconciler } from "../../api/session-reconciler.ts";
import { startWorkflow } from "../../api/session-workflow.ts";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { markSubmitted } from "../../store/messages.ts";
import { closeSession } from "../../store/session-closing.ts";
import { findSession, getSession } from "../../store/sessions.ts";
import { askSessionEnd, askTurnStop } from "../../store/stops.ts";
import type { TurnIds } from "../../store/turns.ts";
import { announceWorker } from "../../store/workers.ts";
import { aMessage, aSession, aStep, type TemporaryStore, temporaryStore } from "../store/store-builder.ts";
import { FakeSessions } from "../support/fake-sessions.ts";

let store: TemporaryStore;
let sessions: FakeSessions;
let reconciler: SessionReconciler;
const errors: unknown[] = [];

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
  store = await temporaryStore();
  sessions = new FakeSessions(store);
  reconciler = new SessionReconciler({ database: store.database, sessions }, (error) => errors.push(error));
  errors.length = 0;
});
afterEach(async () => {
  vi.useRealTimers();
  await reconciler[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  expect(errors).toEqual([]);
});

/** Looks once more, when what was looked at before may be again. */
async function look(): Promise<void> {
  vi.setSystemTime(Date.now() + LIMITS.quietPauseMs.max + 1);
  await reconciler.look();
}

async function lookWithWorker(): Promise<void> {
  vi.setSystemTime(Date.now() + LIMITS.quietPauseMs.max + 1);
  await announceWorker(store.database, { id: "w", announcement: { tools: [], backends: [] } });
  await reconciler.look();
}

async function runningTurn(): Promise<TurnIds> {
  const id = await aSession(store.database);
  const turn = await aMessage(store.database, id);
  await markSubmitted(store.database, id, turn.messageId);
  await aStep(store.database, turn);
  await startWorkflow({ database: store.database, sessions }, await getSession(store.database, id));
  sessions.calls.length = 0;
  return turn;
}

/** The workflow says that it is at this. */
function isAt(turn: TurnIds | undefined, more: Partial<FakeSessions["snapshot"]> = {}): void {
  sessions.snapshot = {
    ...sessions.snapshot,
    turn: turn
      ? { turnId: turn.turnId, messageId: turn.messageId, step: 1, startedAt: 1, usage: sessions.snapshot.usage }
      : null,
    ...more,
  };
}

const isOpen = async (id: SessionId) => (await findSession(store.database, id))?.closedAt === null;

test("a workflow that is at what the rows say is asked, each time later, and left alone", async () => {
  isAt(await runningTurn());

  for (let i = 0; i < 5; i++) await look();

  expect(sessions.count("progress")).toBe(5);
  expect(sessions.count("start")).toBe(0);
  expect(sessions.abandoned).toEqual([]);
});

test("a session at work whose rows move is not asked for", async () => {
  isAt(await runningTurn());

  vi.setSystemTime(Date.now() + LIMITS.quietMs - 1);
  await reconciler.look();

  expect(sessions.calls).toEqual([]);
});

test("a workflow that is not there, or has ended, is started again at the first look", async () => {
  const { sessionId } = await runningTurn();
  sessions.fail("missing", "progress");

  await look();
  sessions.recover();
  isAt(undefined, { status: "closed" });
  await look();

  expect(sessions.calls.filter(({ method }) => method === "start").map(({ id }) => id)).toEqual([sessionId, sessionId]);
  expect(sessions.abandoned).toEqual([]);
});

test.each([
  ["nothing", () => isAt(undefined)],
  ["another turn", (turn: TurnIds) => isAt({ ...turn, turnId: "turn_another" })],
] as const)("a workflow that is at %s is begun anew at the second look, and not at the first", async (_, told) => {
  const turn = await runningTurn();
  told(turn);

  await look();
  expect(sessions.abandoned).toEqual([]);
  await look();

  expect(sessions.abandoned).toEqual([turn.sessionId]);
  expect(sessions.count("start")).toBe(1);
});

test("one whose rows have moved between the looks is not begun anew", async () => {
  const turn = await runningTurn();
  isAt(undefined);

  await look();
  await aMessage(store.database, turn.sessionId);
  await look();
  expect(sessions.abandoned).toEqual([]);
  await look();

  expect(sessions.abandoned).toEqual([turn.sessionId]);
});

test("a message that the workflow is said to have and has not makes it be begun anew", async () => {
  const id = await aSession(store.database);
  await startWorkflow({ database: store.database, sessions }, await getSession(store.database, id));
  const { messageId } = await aMessage(store.database, id);
  await markSubmitted(store.database, id, messageId);
  isAt(undefined);

  await look();
  await look();

  expect(sessions.abandoned).toEqual([id]);
});

test("a workflow at a turn that is over, with a message behind it, is begun anew", async () => {
  const turn = await runningTurn();
  await store.database.write(async (tx) => {
    await tx.updateTable("turns").set({ state: "completed" }).execute();
    await tx.updateTable("messages").set({ state: "ended" }).execute();
  });
  const next = await aMessage(store.database, turn.sessionId);
  await markSubmitted(store.database, turn.sessionId, next.messageId);
  isAt(turn, { queue: [{ messageId: next.messageId, turnId: next.turnId }] });

  await look();
  await look();

  expect(sessions.abandoned).toEqual([turn.sessionId]);
});

test("a stop that its workflow has not heard of is told, also while rows move, and once", async () => {
  const turn = await runningTurn();
  isAt(turn);
  await askTurnStop(store.database, turn.sessionId);

  await reconciler.look();
  await reconciler.look();

  expect(sessions.interrupts).toEqual([{ sessionId: turn.sessionId, request: { turnId: turn.turnId } }]);
});

test("a stop is told again while nothing comes of it, for the workflow may be older than that", async () => {
  const turn = await runningTurn();
  isAt(turn);
  await askTurnStop(store.database, turn.sessionId);

  await look();
  await look();

  expect(sessions.interrupts).toHaveLength(2);
});

test("a session that is to be closed, and whose workflow is gone, is closed by another one", async () => {
  const { sessionId } = await runningTurn();
  await askSessionEnd(store.database, { sessionId }, "close");
  sessions.ended.add(sessionId);

  await reconciler.look();

  expect(await isOpen(sessionId)).toBe(false);
  expect(sessions.count("start")).toBe(1);
});

test.each(["unanswered", "failed"] as const)(
  "a workflow that cannot go on (%s) is begun anew, not while there is no worker, and it is told",
  async (kind) => {
    const { sessionId } = await runningTurn();
    sessions.fail(kind, "progress");

    await look();
    sessions.stuck.add(sessionId);
    await look();
    expect(sessions.abandoned).toEqual([]);
    await lookWithWorker();

    expect(sessions.abandoned).toEqual([sessionId]);
    expect(sessions.count("start")).toBe(1);
    expect(String(errors.pop())).toContain(`session ${sessionId} could not go on`);
    errors.length = 0; // Of "failed" each look tells.
  },
);

test("a session that is to be closed, and whose workflow cannot go on, is closed by another one", async () => {
  const { sessionId } = await runningTurn();
  sessions.stuck.add(sessionId);
  sessions.closes = false;
  sessions.fail("unanswered", "progress");
  await askSessionEnd(store.database, { sessionId }, "close");
  await lookWithWorker();

  expect(sessions.abandoned).toEqual([sessionId]);
  expect(sessions.count("start")).toBe(1);
  expect(errors.splice(0)).toHaveLength(1);
});

test("a session that is to be deleted is closed, and then deleted, with no caller waiting", async () => {
  const { sessionId } = await runningTurn();
  await askSessionEnd(store.database, { sessionId }, "delete");

  await reconciler.look();
  expect(await isOpen(sessionId)).toBe(false);
  await look();

  expect(await findSession(store.database, sessionId)).toBeUndefined();
});

test("a closed session that nobody wants deleted stays", async () => {
  const { sessionId } = await runningTurn();
  await closeSession(store.database, sessionId);

  await look();
  await look();

  expect(sessions.calls).toEqual([]);
});

test("when Temporal was away and is back, all are asked as often as at first, however long they have agreed", async () => {
  isAt(await runningTurn());
  for (let i = 0; i < 5; i++) await look();
  sessions.fail("unreachable", "progress");
  await look();
  sessions.recover();
  sessions.calls.length = 0;

  await reconciler.look();
  vi.setSystemTime(Date.now() + LIMITS.quietPauseMs.first + 1);
  await reconciler.look();

  expect(sessions.count("progress")).toBe(2);
});

test("while Temporal is away nothing is held against anybody, and afterwards all are looked at", async () => {
  const { sessionId } = await runningTurn();
  isAt(undefined);
  sessions.fail("unreachable", "progress");
  for (let i = 0; i < 5; i++) await look();
  sessions.recover();

  await reconciler.look();
  await look();

  expect(sessions.abandoned).toEqual([sessionId]);
});
