/** The session's state: what is queued goes once and in order, what was taken is known, and all of it stays small. */
import { expect, test } from "vitest";
import type { MessageId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { Progress, type SubmitMessage } from "../../contract/session.ts";
import {
  beginJoining,
  beginTurn,
  changeTurn,
  dropTurn,
  emptySession,
  endJoining,
  endTurn,
  progress,
  refusal,
  remove,
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
type Now = Parameters<typeof progress>[1];
const now = (of: Partial<Now> = {}): Now => ({ running: [], waits: [], isClosed: false, ...of });
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
  const idle = progress(emptySession, now());
  const running = progress(
    changeTurn(begin(withQueue("a", "b")), { step: 2, usage: usage(1) }),
    now({ running: ["step"] }),
  );

  const asked = { kind: "approval" as const, callId: "call_1" as const, name: "bash", deadline: 9 };
  const waiting = progress(begin(withQueue("a")), now({ waits: [asked] }));

  expect(Progress.parse(waiting)).toMatchObject({ status: "waiting", waitingFor: "approval call_1", waits: [asked] });
  expect(Progress.parse(idle)).toMatchObject({ status: "idle", turn: null, queue: [], lastOutcome: null });
  expect(Progress.parse(running)).toMatchObject({
    status: "running",
    turn: { turnId: "turn_a", step: 2 },
    running: ["step"],
    queue: [{ messageId: "b", turnId: "turn_b" }],
    usage: usage(1),
  });
  expect(progress(begin(withQueue("a")), now({ isClosed: true })).status).toBe("closed");
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

test("a message that steers joins the running turn at its next step, and is known as part of it for good", () => {
  const state = take(begin(withQueue("a")), message("s", "steer")).state;
  const joining = beginJoining(state);
  const joined = endJoining(joining);

  expect(take(state, message("s", "steer")).taken).toEqual({ turnId: "turn_a", position: 0 });
  expect(progress(state, now()).steering).toEqual(["s"]);
  expect(joining.turn).toMatchObject({ steering: [], joining: [{ messageId: "s" }] });
  expect(joined.turn?.joining).toEqual([]);
  for (const later of [joining, joined, endTurn(joined, "completed")]) {
    expect(take(later, message("s", "steer"))).toEqual({ state: later, taken: { turnId: "turn_a", position: 0 } });
  }
});

test("a message that steers with no turn running waits for one of its own", () => {
  const { state, taken } = take(withQueue("a"), message("s", "steer"));

  expect(taken).toEqual({ turnId: "turn_s", position: 1 });
  expect(state.queue.map(({ messageId }) => messageId)).toEqual(["a", "s"]);
});

test("messages that came too late to join go next, in their order, before all that wait", () => {
  let state = begin(withQueue("a", "b"));
  for (const id of ["did", "late"]) state = take(state, message(id, "steer")).state;
  state = beginJoining(state);
  state = take(state, message("later", "steer")).state;

  const ended = endTurn(state, "failed", ["late"]);

  expect(ended.queue.map(({ messageId }) => messageId)).toEqual(["late", "later", "b"]);
  expect(take(ended, message("did", "steer")).taken).toEqual({ turnId: "turn_a", position: 0 });
});

test("a message is taken back from the queue and from those that steer, but not once it joins", () => {
  let state = begin(withQueue("a", "b"));
  for (const id of ["s", "t"]) state = take(state, message(id, "steer")).state;

  expect(remove(state, "b").queue).toEqual([]);
  expect(remove(state, "s").turn?.steering).toEqual([{ messageId: "t", turnId: "turn_t" }]);
  expect(remove(beginJoining(state), "s").turn?.joining).toHaveLength(2);
  expect(remove(state, "never")).toEqual(state);
});

test("a turn whose message was taken back leaves no trace, and those who steered it go next", () => {
  const state = take(begin(withQueue("a", "b")), message("s", "steer")).state;

  const dropped = dropTurn(state);

  expect(dropped).toMatchObject({ turn: null, turns: 0, recent: [], lastOutcome: null });
  expect(dropped.queue.map(({ messageId }) => messageId)).toEqual(["s", "b"]);
});
