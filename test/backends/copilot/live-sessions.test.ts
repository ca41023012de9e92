/** Which open session a step may go on with, and how long one stays open. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LiveSessions } from "../../../backends/copilot/live-sessions.ts";
import { installedPlatform } from "../../../backends/copilot/platform.ts";
import { RuntimePool } from "../../../backends/copilot/runtime-pool.ts";
import { RuntimeSession } from "../../../backends/copilot/runtime-session.ts";
import { LIMITS } from "../../../contract/limits.ts";
import { startCopilotWorld } from "./step-builder.ts";

const SETUP = "{}";
const STANDING = { mark: "m1", length: 8, tail: "line\n" };
const STATE = { text: "a\nbline\n", meta: { covered: 1, pending: [], setup: "s", mark: "m1" }, version: "1" };

const closed: RuntimeSession[] = [];

beforeEach(() => {
  closed.length = 0;
});
afterEach(() => void vi.useRealTimers());

function liveSessions(max = 2): LiveSessions {
  return new LiveSessions({ max, close: async (session) => void closed.push(session) });
}

function aSession(): RuntimeSession {
  return new RuntimeSession({ text: "a\nb", isKept: true, setup: SETUP });
}

function kept(live: LiveSessions, sessionId = "session-1", standing = STANDING): RuntimeSession {
  const session = aSession();
  live.keep(session, { sessionId, standing });
  return session;
}

test("a session is taken by the step that begins with its state, and once only", () => {
  const live = liveSessions();
  const session = kept(live);

  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBe(session);
  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBeUndefined();
  expect(closed).toEqual([]);
});

test.each([
  ["no state", undefined],
  ["the state of another attempt", { ...STATE, meta: { ...STATE.meta, mark: "m2" } }],
  ["a state without a mark", { ...STATE, meta: { covered: 1, pending: [], setup: "s" } }],
  ["a longer text", { ...STATE, text: `x${STATE.text}` }],
  ["a text with another end", { ...STATE, text: "a\nblinE\n" }],
])("a session is closed by a step that begins with %s", (_what, state) => {
  const live = liveSessions();
  const session = kept(live);

  expect(live.take("session-1", { setup: SETUP, state })).toBeUndefined();
  expect(closed).toEqual([session]);
});

test("a session is closed by a step with another set-up", () => {
  const live = liveSessions();
  const session = kept(live);

  expect(live.take("session-1", { setup: '{"model":"m"}', state: STATE })).toBeUndefined();
  expect(closed).toEqual([session]);
});

test("a session is left alone by other sessions' steps", () => {
  const live = liveSessions();
  const session = kept(live);

  expect(live.take("session-2", { setup: SETUP, state: STATE })).toBeUndefined();
  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBe(session);
});

test("a session that is heard of while it rests is not gone on with", () => {
  const live = liveSessions();
  const session = kept(live);
  session.tell({ type: "session.idle" } as Parameters<RuntimeSession["tell"]>[0]);

  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBeUndefined();
  expect(closed).toEqual([session]);
});

test("a session that only reports late what its step has heard is gone on with", () => {
  const live = liveSessions();
  const session = kept(live);
  session.tell({ type: "model.turn_ended" } as unknown as Parameters<RuntimeSession["tell"]>[0]);

  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBe(session);
});

test("a session whose log is written while it rests is not gone on with, and the writing is in no state", async () => {
  const live = liveSessions();
  const session = kept(live);
  await session.log.appendFile("/state/events.jsonl", "late\n");

  expect(live.take("session-1", { setup: SETUP, state: STATE })).toBeUndefined();
  expect(await session.log.readFile("/state/events.jsonl")).toBe("a\nb");
  expect(session.log.takeChange()).toEqual({ append: "" });
});

test("what a session hears while it serves reaches its step alone, and what it hears at its end nobody", () => {
  const session = aSession();
  const [first, second] = [vi.fn(), vi.fn()];
  const event = { type: "session.idle" } as Parameters<RuntimeSession["tell"]>[0];
  session.serve(first);
  session.tell(event);
  session.rest(STANDING);
  session.serve(second);
  session.tell(event);
  session.end();
  session.tell(event);

  expect(first).toHaveBeenCalledTimes(1);
  expect(second).toHaveBeenCalledTimes(1);
});

test("a session that nobody comes for is closed in time", () => {
  vi.useFakeTimers();
  const live = liveSessions();
  const session = kept(live);
  vi.advanceTimersByTime(LIMITS.copilotLiveIdleMs - 1);
  expect(closed).toEqual([]);
  vi.advanceTimersByTime(1);

  expect(closed).toEqual([session]);
  expect(live.size).toBe(0);
});

test("a session that was taken is not closed by the time it had before", () => {
  vi.useFakeTimers();
  const live = liveSessions();
  kept(live);
  live.take("session-1", { setup: SETUP, state: STATE });
  vi.advanceTimersByTime(LIMITS.copilotLiveIdleMs * 2);

  expect(closed).toEqual([]);
});

test("a session that has grown old is not kept", () => {
  vi.useFakeTimers();
  const live = liveSessions();
  const session = aSession();
  vi.advanceTimersByTime(LIMITS.copilotLiveAgeMs + 1);
  live.keep(session, { sessionId: "session-1", standing: STANDING });

  expect(closed).toEqual([session]);
});

test("sessions that are too large together go, the one that rested longest first", () => {
  const live = liveSessions(10);
  const large = { ...STANDING, length: LIMITS.copilotLiveCharacters / 2 };
  const [first] = [kept(live, "one", large), kept(live, "two", large)];
  expect(closed).toEqual([]);
  kept(live, "three");

  expect(closed).toEqual([first]);
  expect(live.size).toBe(2);
});

test("a runtime that is replaced is not held by the sessions that rest in it", async () => {
  await using world = await startCopilotWorld();
  const { scratchDir } = world;
  const parts = { platform: installedPlatform(), scratchDir, githubToken: undefined, warn: () => undefined };
  const pool = new RuntimePool({ ...parts, isWorn: async () => false });
  try {
    const { runtime, ...lease } = await pool.take();
    const [before, after] = [aSession(), aSession()];
    runtime.rest(before, { sessionId: "one", standing: STANDING });
    expect(runtime.live.size).toBe(1);
    runtime.retire();
    expect(runtime.live.size).toBe(0);
    runtime.rest(after, { sessionId: "two", standing: STANDING });
    expect(runtime.live.size).toBe(0);
    expect(runtime.isLost).toBe(false);
    lease[Symbol.dispose]();
    await runtime.ended;
  } finally {
    await pool.stop();
  }
});
