/** What a session's agent asks for in the proof of approvals, and what people do about each of it. A seed decides all of it. */
import path from "node:path";
import { createRandom, type Random } from "../chaos/random.ts";
import { ASKS } from "../chaos/script.ts";

/**
 * What is decided. edit: approved with other arguments. expire: nothing, until it is too late. race: one person approves and
 * another one denies, at the same instant. brink: approved at the instant of the deadline.
 */
export type Plan = "approve" | "deny" | "edit" | "expire" | "race" | "brink";

/**
 * What else is posted. repeat: the same request again. twins: another person says the same at the same instant.
 * contradict: somebody says the opposite a moment later. misdirect: before, a decision for other arguments, and one for
 * another session's call.
 */
export type Besides = "nothing" | "repeat" | "twins" | "contradict" | "misdirect";

export interface PlannedAsk {
  /** Of the command that is asked about; the file that it leaves its label in has the same name. */
  readonly label: string;
  readonly plan: Plan;
  readonly besides: Besides;
  /** Posted at the instant in which this process is killed. */
  readonly atKillOf: "api" | "worker" | "temporal" | undefined;
  /** Pause of the person before that. */
  readonly afterMs: number;
}

export interface SessionPlan {
  readonly id: string;
  /** The agent's approvalTimeoutMs; left out for a day. */
  readonly timeoutMs: number | undefined;
  /** Asked for in one step each. */
  readonly turns: readonly (readonly PlannedAsk[])[];
  /** Where each command leaves a file. */
  readonly effects: string;
}

/** Asked for at once in the turns of a session; ten in all. */
const PARALLEL = [1, 2, 3, 4];
const SHORT_MS = 5_000;
/** Every so many sessions have a short deadline. */
const SHORT_EACH = 4;

export interface PlanPlace {
  readonly seed: number;
  readonly sessions: number;
  /** A folder for what the commands leave. */
  readonly effects: string;
}

export function planSessions({ seed, sessions, effects }: PlanPlace): readonly SessionPlan[] {
  const random = createRandom(seed);
  return Array.from({ length: sessions }, (_, number) => {
    const id = `asks-${String(number).padStart(2, "0")}`;
    const isShort = number % SHORT_EACH === 1;
    let asks = 0;
    const turns = shuffled(random, PARALLEL).map((count) =>
      Array.from({ length: count }, () => planAsk(random, `${id}.a${asks++}`, isShort)),
    );
    return { id, timeoutMs: isShort ? SHORT_MS : undefined, turns, effects: path.join(effects, id) };
  });
}

function planAsk(random: Random, label: string, isShort: boolean): PlannedAsk {
  const plan = isShort
    ? random.oneOf(["expire", "expire", "brink", "approve", "deny"] as const)
    : random.oneOf(["approve", "approve", "approve", "deny", "deny", "edit", "edit", "race"] as const);
  const besides = random.oneOf(["nothing", "repeat", "twins", "contradict", "misdirect"] as const);
  const atKillOf = random.oneOf([undefined, undefined, "api", "worker", "temporal"] as const);
  const afterMs = random.whole(0, isShort ? 1_000 : 2_000);
  return { label, plan, besides, atKillOf: isShort ? undefined : atKillOf, afterMs };
}

/** The command that is asked about; run, it leaves its label. */
export function commandOf({ effects }: SessionPlan, label: string): string {
  return `${ASKS} ${label}; echo ${label} >> ${path.join(effects, label)}; echo ${label} is done`;
}

/** What an edited command leaves instead. */
export function editedLabel(label: string): string {
  return `${label}.edited`;
}

export function shuffled<T>(random: Random, values: readonly T[]): T[] {
  const rest = [...values];
  const mixed: T[] = [];
  while (rest.length > 0) mixed.push(...rest.splice(random.whole(0, rest.length - 1), 1));
  return mixed;
}
