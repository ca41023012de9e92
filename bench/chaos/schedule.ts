/** What strikes when: endless, and the same for the same seed. */
import type { ProcessName } from "../../cli/state-directory.ts";
import { type Fault, type FaultType, type Loss, POWER_CUT_MS } from "./faults/fault.ts";
import { createRandom, type Random } from "./random.ts";

/** A process of the stack, the one that the worker's copilot backend runs its steps in, or the sandbox of a session. */
export type Victim = ProcessName | "runtime" | "sandbox";

export interface Kill {
  /** After the strike before it. */
  readonly afterMs: number;
  /** More than one: at the same instant. */
  readonly names: readonly Victim[];
}

export interface FaultStrike {
  readonly afterMs: number;
  readonly fault: Fault;
}

export type Strike = Kill | FaultStrike;

export interface Pace {
  readonly minMs: number;
  readonly maxMs: number;
}

export const PACE: Pace = { minMs: 500, maxMs: 3_200 };
/** From one loss to the next: long enough for sessions to begin and to end in between. */
const LOSS_PACE: Pace = { minMs: 45_000, maxMs: 75_000 };
const PAUSE: Pace = { minMs: 1_000, maxMs: 20_000 };
const OUTAGE: Pace = { minMs: 2_000, maxMs: 30_000 };
const BLOCK: Pace = { minMs: 2_000, maxMs: 9_000 };
const DISK_FULL_MS = 5_000;

/** How often each is the one, all together 1. */
type Shares = Readonly<Record<Victim, number>>;

const SHARES: Shares = { worker: 0.5, api: 0.3, temporal: 0.2, runtime: 0, sandbox: 0 };
const WITH_RUNTIME: Shares = { worker: 0.35, api: 0.2, temporal: 0.15, runtime: 0.3, sandbox: 0 };
const WITH_SANDBOX: Shares = { worker: 0.3, api: 0.15, temporal: 0.1, runtime: 0, sandbox: 0.45 };
/** Of the strikes, those that do not kill. */
const DISTURBANCES = 0.25;

export interface ScheduleOptions {
  readonly seed: number;
  readonly pace?: Pace;
  /** Whether there is a runtime to kill. */
  readonly hasRuntime?: boolean;
  /** Whether sandboxes are killed, too. */
  readonly hasSandbox?: boolean;
  /** The faults that this run can make, besides kills. */
  readonly faults?: ReadonlySet<FaultType>;
}

export function* strikeSchedule(options: ScheduleOptions): Generator<Strike, never> {
  const { seed, pace = PACE, hasRuntime = false, hasSandbox = false, faults = new Set() } = options;
  const random = createRandom(seed);
  const shares = hasSandbox ? WITH_SANDBOX : hasRuntime ? WITH_RUNTIME : SHARES;
  let untilLossMs = between(random, LOSS_PACE) / 2;
  for (;;) {
    const afterMs = between(random, pace);
    untilLossMs -= afterMs;
    const loss = untilLossMs <= 0 ? drawLoss(random, faults) : undefined;
    if (untilLossMs <= 0) untilLossMs = between(random, LOSS_PACE);
    const disturbance = random.chance(DISTURBANCES) ? drawDisturbance(random, faults) : undefined;
    const fault = loss ?? disturbance;
    yield fault ? { afterMs, fault } : { afterMs, names: drawVictims(random, shares) };
  }
}

function drawVictims(random: Random, shares: Shares): readonly Victim[] {
  const first = victim(random, shares);
  const second = random.chance(0.15) ? victim(random, shares) : first;
  return second === first ? [first] : [first, second];
}

function drawDisturbance(random: Random, faults: ReadonlySet<FaultType>): Fault | undefined {
  const draw = random.between(0, 1);
  const name = random.oneOf(["worker", "worker", "api", "temporal"] as const);
  const [pauseMs, outageMs, blockMs] = [PAUSE, OUTAGE, BLOCK].map((bounds) => between(random, bounds)) as Three;
  const drawn: Fault =
    draw < 0.6
      ? { type: "pause", name, forMs: pauseMs }
      : draw < 0.75
        ? { type: "outage", forMs: outageMs }
        : draw < 0.92
          ? { type: "block", forMs: blockMs }
          : { type: "host" };
  return faults.has(drawn.type) ? drawn : undefined;
}

type Three = [number, number, number];

function drawLoss(random: Random, faults: ReadonlySet<FaultType>): Loss | undefined {
  const draw = random.between(0, 1);
  const [storeMs, temporalMs] = [0, 1].map(() => Math.round(random.between(0, POWER_CUT_MS))) as [number, number];
  const of = random.oneOf(["store", "temporal", "both"] as const);
  const drawn: Loss =
    draw < 0.5
      ? { type: "power", storeMs, temporalMs }
      : draw < 0.8
        ? { type: "restore", of }
        : { type: "disk", forMs: DISK_FULL_MS };
  return faults.has(drawn.type) ? drawn : undefined;
}

function between(random: Random, { minMs, maxMs }: Pace): number {
  return Math.round(random.between(minMs, maxMs));
}

function victim(random: Random, { worker, api, temporal, runtime }: Shares): Victim {
  const draw = random.between(0, 1);
  if (draw < worker) return "worker";
  if (draw < worker + api) return "api";
  if (draw < worker + api + temporal) return "temporal";
  return draw < worker + api + temporal + runtime ? "runtime" : "sandbox";
}
