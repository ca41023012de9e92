/** Pure state of one session. No Temporal, no clock, no I/O: data in, data out. All of it is carried by continue-as-new. */
import type { MessageId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { MessageTaken, Progress, SubmitMessage, TurnOutcome, WaitEnded } from "../contract/session.ts";
import type { PlannedCall } from "../contract/steps.ts";
import type { Usage } from "../contract/usage.ts";

export interface SessionState {
  /** Waiting for their turn, first to go first. */
  readonly queue: readonly Waiting[];
  /** Messages of the past, newest last, so that a repeat is known as one. Pairs, because two hundred of them are carried. */
  readonly recent: readonly (readonly [MessageId, TurnId])[];
  readonly turn: TurnState | null;
  readonly closing: boolean;
  /** The workflow itself was cancelled: it closes although no row says so. */
  readonly cancelled?: true;
  readonly turns: number;
  readonly lastOutcome: TurnOutcome | null;
  readonly usage: Usage;
  /** Whether the sandbox has been asked for: it is made while the first model call runs. */
  readonly hasSandbox: boolean;
  /** The task queue of the host that the sandbox lives on, once somebody had to be told. */
  readonly sandboxQueue?: string;
  /** Which configuration of the session is known here; left out for the first. */
  readonly configuration?: number;
  /** The turn whose workspace is still to be kept, or is being kept. */
  readonly toKeep?: TurnId;
  /** When it is next looked whether the sandbox idles, in milliseconds since 1970; left out while a turn runs. */
  readonly idleLookAt?: number;
}

/** What is to be otherwise in it; undefined takes a field away. */
export type StateChange = { readonly [K in keyof SessionState]?: SessionState[K] | undefined };

/** Why a turn was told to stop. */
export type StopReason = "interrupted" | "replaced" | "closed" | "timed_out";

export type CallToRun = Omit<PlannedCall, "quick">;

export interface Waiting {
  readonly messageId: MessageId;
  readonly turnId: TurnId;
}

export interface TurnState extends Waiting {
  /** The step that runs, or goes next. */
  readonly step: number;
  readonly startedAt: number;
  readonly deadline: number;
  readonly usage: Usage;
  /** A tool has run since the last upload at the turn's end. */
  readonly hasRunTools: boolean;
  /** Messages that join at the next step. */
  readonly steering?: readonly Waiting[];
  /** Messages that join with the step that runs: whether they have is known when it has answered. */
  readonly joining?: readonly Waiting[];
  /** It was told to stop. The first reason stands. */
  readonly stop?: StopReason;
  /** Since when somebody is waited for: the turn's clock stands still meanwhile. */
  readonly waitingSince?: number;
  /** Carried in the middle of a step: its calls that have not ended, each with what it waits for. */
  readonly calls?: readonly CallToRun[];
  /** With them: ends of waits that were told and not yet used. */
  readonly ended?: readonly WaitEnded[];
}

const NONE: Usage = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 };

export const emptySession: SessionState = {
  queue: [],
  recent: [],
  turn: null,
  closing: false,
  turns: 0,
  lastOutcome: null,
  usage: NONE,
  hasSandbox: false,
};

export function change(state: SessionState, by: StateChange): SessionState {
  const changed = Object.entries({ ...state, ...by }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(changed) as unknown as SessionState;
}

/** The reason a message cannot be taken, or undefined when it can. */
export function refusal(state: SessionState, message: SubmitMessage): string | undefined {
  if (findTaken(state, message)) return undefined;
  if (state.closing) return "the session is closing and takes no more messages";
  const waiting = state.queue.length + (state.turn?.steering?.length ?? 0);
  if (waiting >= LIMITS.messagesWaiting) return `${waiting} messages wait already, the most a session takes`;
  return undefined;
}

/**
 * Takes a message: to the end of the queue, to its head when it interrupts, or into the running turn when it steers.
 * A repeat changes nothing.
 */
export function take(
  state: SessionState,
  message: SubmitMessage,
): { readonly state: SessionState; readonly taken: MessageTaken } {
  const repeat = findTaken(state, message);
  if (repeat) return { state, taken: repeat };
  const waiting: Waiting = { messageId: message.messageId, turnId: message.turnId };
  if (message.mode === "steer" && state.turn && !state.closing) {
    const steering = [...(state.turn.steering ?? []), waiting];
    return { state: changeTurn(state, { steering }), taken: { turnId: state.turn.turnId, position: 0 } };
  }
  const isFirst = message.mode === "interrupt";
  const queue = isFirst ? [waiting, ...state.queue] : [...state.queue, waiting];
  const position = isFirst ? 0 : state.queue.length + (state.turn ? 1 : 0);
  return { state: { ...state, queue }, taken: { turnId: message.turnId, position } };
}

function findTaken(state: SessionState, message: SubmitMessage): MessageTaken | undefined {
  const index = state.queue.findIndex((other) => other.messageId === message.messageId);
  const queued = state.queue[index];
  if (queued) return { turnId: queued.turnId, position: index + (state.turn ? 1 : 0) };
  const { turn } = state;
  const isInTurn = [turn, ...(turn?.steering ?? []), ...(turn?.joining ?? [])].some(
    (other) => other?.messageId === message.messageId,
  );
  if (turn && isInTurn) return { turnId: turn.turnId, position: 0 };
  const past = state.recent.find(([messageId]) => messageId === message.messageId);
  return past && { turnId: past[1], position: 0 };
}

/** Begins the turn of the first message in the queue. */
export function beginTurn(state: SessionState, now: number, turnTimeoutMs: number): SessionState {
  const [next, ...queue] = state.queue;
  if (!next || state.turn) throw new Error("beginTurn() needs a waiting message and no turn");
  const { idleLookAt: _, ...awake } = state;
  const turn: TurnState = {
    ...next,
    step: 1,
    startedAt: now,
    deadline: now + turnTimeoutMs,
    usage: NONE,
    hasRunTools: false,
  };
  return { ...awake, queue, turn };
}

export function changeTurn(state: SessionState, change: Partial<TurnState>): SessionState {
  if (!state.turn) throw new Error("changeTurn() needs a turn");
  return { ...state, turn: { ...state.turn, ...change } };
}

/** Tells the turn to stop; one that was told before, or none, changes nothing. */
export function stopTurn(state: SessionState, stop: StopReason): SessionState {
  return !state.turn || state.turn.stop ? state : changeTurn(state, { stop });
}

/** The turn's clock stands still from now on, or (false) goes on: what stood still is given back to the turn. */
export function pauseClock(state: SessionState, isWaiting: boolean, now: number): SessionState {
  const { turn } = state;
  if (!turn || isWaiting === (turn.waitingSince !== undefined)) return state;
  if (isWaiting) return changeTurn(state, { waitingSince: now });
  const { waitingSince = now, ...rest } = turn;
  return { ...state, turn: { ...rest, deadline: turn.deadline + now - waitingSince } };
}

/** What is left of the step that the turn is in, to go on with in another run; or (undefined) it has been taken up. */
export function carryCalls(
  state: SessionState,
  left: { readonly calls: readonly CallToRun[]; readonly ended: readonly WaitEnded[] } | undefined,
): SessionState {
  if (!state.turn) return state;
  const { calls: _calls, ended: _ended, ...rest } = state.turn;
  return { ...state, turn: { ...rest, ...left } };
}

/** Has the steering messages join with the step that goes now. */
export function beginJoining(state: SessionState): SessionState {
  const { turn } = state;
  return turn?.steering?.length ? changeTurn(state, { steering: [], joining: turn.steering }) : state;
}

/** The step that they joined with has answered. Those that were too late for it join with the next one. */
export function endJoining(state: SessionState, late: readonly MessageId[] = []): SessionState {
  const { turn } = state;
  if (!turn?.joining?.length) return state;
  const isLate = ({ messageId }: Waiting): boolean => late.includes(messageId);
  const joined = turn.joining.filter((waiting) => !isLate(waiting));
  const steering = [...turn.joining.filter(isLate), ...(turn.steering ?? [])];
  const changed = changeTurn(state, { joining: [], ...(late.length > 0 && { steering }) });
  return { ...changed, recent: remember(state.recent, joined, turn.turnId) };
}

/** Takes a message back that has not begun: from the queue, or from those that were to join the turn. */
export function remove(state: SessionState, messageId: MessageId): SessionState {
  const isOther = (waiting: Waiting): boolean => waiting.messageId !== messageId;
  const queue = state.queue.filter(isOther);
  const steering = state.turn?.steering?.filter(isOther);
  return { ...(steering ? changeTurn(state, { steering }) : state), queue };
}

/** The turn was none: its message had been taken back. */
export function dropTurn(state: SessionState): SessionState {
  return { ...state, turn: null, queue: [...(state.turn?.steering ?? []), ...state.queue] };
}

function remember(
  recent: SessionState["recent"],
  messages: readonly Waiting[],
  turnId: TurnId,
): SessionState["recent"] {
  const known = messages.map(({ messageId }) => [messageId, turnId] as const);
  return [...recent, ...known].slice(-LIMITS.messagesRemembered);
}

/**
 * Ends the turn. Messages that were to join it and are still steering go next, each with a turn of its own; of those that
 * were just joining, the ones in `requeued`, because they did not.
 */
export function endTurn(state: SessionState, outcome: TurnOutcome, requeued: readonly MessageId[] = []): SessionState {
  const { turn } = state;
  if (!turn) throw new Error("endTurn() needs a turn");
  const isBack = ({ messageId }: Waiting): boolean => requeued.includes(messageId);
  const joining = turn.joining ?? [];
  const joined = joining.filter((waiting) => !isBack(waiting));
  const back = [...joining.filter(isBack), ...(turn.steering ?? [])];
  return {
    ...state,
    turn: null,
    recent: remember(state.recent, [turn, ...joined], turn.turnId),
    queue: [...back, ...state.queue],
    turns: state.turns + 1,
    lastOutcome: outcome,
    usage: addUsage(state.usage, turn.usage),
  };
}

export function addUsage(a: Usage, b: Usage): Usage {
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    reasoningTokens: a.reasoningTokens + b.reasoningTokens,
  };
}

/** The answer to `getProgress`. */
export function progress(
  state: SessionState,
  now: { readonly running: readonly string[]; readonly waits: Progress["waits"]; readonly isClosed: boolean },
): Progress {
  const { turn } = state;
  const { waits } = now;
  const atWork = waits.length > 0 ? "waiting" : "running";
  return {
    status: now.isClosed ? "closed" : turn ? atWork : "idle",
    turn: turn && {
      turnId: turn.turnId,
      messageId: turn.messageId,
      step: turn.step,
      startedAt: turn.startedAt,
      usage: turn.usage,
    },
    running: [...now.running],
    waitingFor: waits.length > 0 ? waits.map(({ kind, callId }) => `${kind} ${callId}`).join(", ") : null,
    waits,
    queue: [...state.queue],
    steering: [...(turn?.joining ?? []), ...(turn?.steering ?? [])].map(({ messageId }) => messageId),
    turns: state.turns,
    lastOutcome: state.lastOutcome,
    usage: turn ? addUsage(state.usage, turn.usage) : state.usage,
    limits: { messagesWaiting: LIMITS.messagesWaiting },
  };
}
