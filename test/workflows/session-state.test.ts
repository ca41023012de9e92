/** The session's state: what is queued goes once and in order, what was taken is known, and all of it stays small. */
import { expect, test } from "vitest";
import type { MessageId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { Progress, type SubmitMessage } from "../../contract/session.ts";
import {
  beginTurn,
  changeTurn,
  emptySession,
  endTurn,
  progress,
  refusal,
  type SessionState,
  take,
} from "../../workflows/session-state.ts";

const message = (id: string, mode: SubmitMessage["mode"] = "queue"): SubmitMessage => ({
  messageId: id,
  turnId: `turn_${id}`,
  mode,
});
const withQueue = (...ids: readonly string[]): SessionState =>
  ids.reduce((state, id) => take(state, message(id)).state, emptySession);
const begin = (state: SessionState, now = 1_000): SessionState => beginTurn(state, now, 60_000);
const queueOf = (state: SessionState): readonly MessageId[] => state.queue.map((waiting) => waiting.messageId);
const usage = (n: number) => ({ inputTokens: n, outputTokens: n, cachedTokens: n, reasoningTokens: n });

/** Takes a message and lives through its turn. */
function past(state: SessionState, id: string): SessionState {
  return endTurn(begin(take(state, message(id)).state), "completed");
}

test("messages go in the order they came, each told how many turns are before it", () => {
  let state = emptySession;
  const positions = ["a", "b", "c"].map((id) => {
    const { state: next, taken } = take(state, message(id));
    state = next;
    return taken;
  });

  expect(positions).toEqual([
    { turnId: "turn_a", position: 0 },
    { turnId: "turn_b", position: 1 },
    { turnId: "turn_c", position: 2 },
  ]);
  expect(take(begin(withQueue("a")), message("b")).taken.position).toBe(1);
  expect(queueOf(begin(state))).toEqual(["b", "c"]);
});

test("a message that interrupts goes before all that wait, and the newest of several goes first", () => {
  const state = begin(withQueue("a", "b"));

  const first = take(state, message("x", "interrupt"));
  const second = take(first.state, message("y", "interrupt"));

  expect(first.taken).toEqual({ turnId: "turn_x", position: 0 });
  expect(queueOf(second.state)).toEqual(["y", "x", "b"]);
  expect(second.state.turn?.messageId).toBe("a");
});

test("a repeat changes nothing and keeps its first turn, while it waits, while it runs and when it is over", () => {
  const again = { ...message("a"), turnId: "turn_other" as const };
  const waiting = withQueue("x", "a");
  const running = begin(withQueue("a", "b"));
  const over = endTurn(running, "failed");

  for (const [state, position] of [
    [waiting, 1],
    [running, 0],
    [over, 0],
  ] as const) {
    const repeat = take(state, again);
    expect(repeat.state).toBe(state);
    expect(repeat.taken).toEqual({ turnId: "turn_a", position });
  }
});

test("a repeat as an interrupt stays where it was: the mode of the first time stands", () => {
  const state = begin(withQueue("x", "a", "b"));

  expect(take(state, message("b", "interrupt"))).toEqual({ state, taken: { turnId: "turn_b", position: 2 } });
});

test("a full queue refuses one more of any mode, in words, but not a repeat", () => {
  const ids = Array.from({ length: LIMITS.messagesWaiting }, (_, i) => `m${i}`);
  const full = withQueue(...ids);

  expect(refusal(full, message("more"))).toMatch(/100 messages wait already/);
  expect(refusal(full, message("more", "interrupt"))).toMatch(/100 messages wait already/);
  expect(refusal(full, message("m7"))).toBeUndefined();
  expect(refusal(begin(full), message("more"))).toBeUndefined();
});

test("a closing session refuses what is new and still knows what it took", () => {
  const closing = { ...past(withQueue("a"), "b"), closing: true };

  expect(refusal(closing, message("new"))).toMatch(/closing/);
  expect(refusal(closing, message("a"))).toBeUndefined();
});

test("only so many past messages are remembered, the newest of them", () => {
  const many = LIMITS.messagesRemembered + 5;
  const ids = Array.from({ length: many }, (_, i) => `m${i}`);

  const state = ids.reduce(past, emptySession);

  expect(state.recent).toHaveLength(LIMITS.messagesRemembered);
  expect(take(state, message("m5")).state).toBe(state);
  expect(take(state, message("m4")).state).not.toBe(state);
  expect(state.turns).toBe(many);
});

test("a turn begins at step 1 with its deadline, and its tokens are the session's when it ends", () => {
  const begun = begin(withQueue("a"), 5_000);
  expect(begun.turn).toMatchObject({ turnId: "turn_a", step: 1, startedAt: 5_000, deadline: 65_000, usage: usage(0) });

  const worked = changeTurn(begun, { step: 4, usage: usage(3) });
  const twice = changeTurn(begin(take(endTurn(worked, "completed"), message("b")).state), { usage: usage(2) });
  const ended = endTurn(twice, "interrupted");

  expect(ended).toMatchObject({ turn: null, turns: 2, lastOutcome: "interrupted", usage: usage(5) });
});

test("what cannot be is a bug that is thrown, not a state", () => {
  expect(() => beginTurn(emptySession, 0, 1)).toThrow(/needs a waiting message/);
  expect(() => begin(begin(withQueue("a", "b")))).toThrow(/no turn/);
  expect(() => changeTurn(emptySession, { step: 2 })).toThrow(/needs a turn/);
  expect(() => endTurn(emptySession, "failed")).toThrow(/needs a turn/);
});

test("no function changes the state that it was given", () => {
  const state = begin(withQueue("a", "b"));
  const before = structuredClone(state);
  const freeze = (value: object): void => {
    Object.freeze(value);
    for (const inner of Object.values(value)) if (typeof inner === "object" && inner !== null) freeze(inner);
  };
  freeze(state);

  take(state, message("c", "interrupt"));
  changeTurn(state, { step: 9 });
  endTurn(state, "completed");
  begin(endTurn(state, "completed"));

  expect(state).toEqual(before);
});

test("progress says what runs, what waits and what it has cost, and is what clients are promised", () => {
  const idle = progress(emptySession, [], false);
  const running = progress(changeTurn(begin(withQueue("a", "b")), { step: 2, usage: usage(1) }), ["step"], false);

  expect(Progress.parse(idle)).toMatchObject({ status: "idle", turn: null, queue: [], lastOutcome: null });
  expect(Progress.parse(running)).toMatchObject({
    status: "running",
    turn: { turnId: "turn_a", step: 2 },
    running: ["step"],
    queue: [{ messageId: "b", turnId: "turn_b" }],
    usage: usage(1),
  });
  expect(progress(begin(withQueue("a")), [], true).status).toBe("closed");
});

test("what is carried to the next run stays under 32 KiB at every bound, and means the same after it", () => {
  const id = (i: number): string => String(i).padStart(64, "x");
  const turn = (i: number) => `turn_${String(i).padStart(19, "0")}` as const;
  const taken = (state: SessionState, i: number): SessionState =>
    take(state, { messageId: id(i), turnId: turn(i), mode: "queue" }).state;
  let state = emptySession;
  for (let i = 0; i < LIMITS.messagesRemembered; i++) {
    state = endTurn(changeTurn(begin(taken(state, i), 1_795_000_000_000), { usage: usage(1e11) }), "interrupted");
  }
  for (let i = 0; i <= LIMITS.messagesWaiting; i++) {
    state = taken(state, 1_000 + i);
    if (i === 0) state = changeTurn(begin(state, 1_795_000_000_000), { step: 10_000, usage: usage(1e12) });
  }
  const limits = { stepsPerTurn: 10_000, turnTimeoutMs: 604_800_000, tokensPerTurn: 1e12, toolsInParallel: 32 };
  const agent = { name: "n".repeat(100), limits, hasTools: true };

  const carried = JSON.stringify({ sessionId: id(0), agent, carried: state });

  expect(state.queue).toHaveLength(LIMITS.messagesWaiting);
  expect(Buffer.byteLength(carried)).toBeLessThan(32 * 1024);
  expect(JSON.parse(carried).carried).toEqual(state);
});
