/** Who is killed when: endless, and the same for the same seed. */
import type { ProcessName } from "../../cli/state-directory.ts";
import { createRandom, type Random } from "./random.ts";

/** A process of the stack, the one that the worker's copilot backend runs its steps in, or the sandbox of a session. */
export type Victim = ProcessName | "runtime" | "sandbox";

export interface Kill {
  /** After the kill before it. */
  readonly afterMs: number;
  /** More than one: at the same instant. */
  readonly names: readonly Victim[];
}

export interface Pace {
  readonly minMs: number;
  readonly maxMs: number;
}

export const PACE: Pace = { minMs: 500, maxMs: 3_200 };

/** How often each is the one, all together 1. */
type Shares = Readonly<Record<Victim, number>>;

const SHARES: Shares = { worker: 0.5, api: 0.3, temporal: 0.2, runtime: 0, sandbox: 0 };
const WITH_RUNTIME: Shares = { worker: 0.35, api: 0.2, temporal: 0.15, runtime: 0.3, sandbox: 0 };
const WITH_SANDBOX: Shares = { worker: 0.3, api: 0.15, temporal: 0.1, runtime: 0, sandbox: 0.45 };

export interface ScheduleOptions {
  readonly seed: number;
  readonly pace?: Pace;
  /** Whether there is a runtime to kill. */
  readonly hasRuntime?: boolean;
  /** Whether sandboxes are killed, too. */
  readonly hasSandbox?: boolean;
}

export function* killSchedule({
  seed,
  pace = PACE,
  hasRuntime = false,
  hasSandbox = false,
}: ScheduleOptions): Generator<Kill, never> {
  const random = createRandom(seed);
  const shares = hasSandbox ? WITH_SANDBOX : hasRuntime ? WITH_RUNTIME : SHARES;
  for (;;) {
    const afterMs = Math.round(random.between(pace.minMs, pace.maxMs));
    const first = victim(random, shares);
    const second = random.chance(0.15) ? victim(random, shares) : first;
    yield { afterMs, names: second === first ? [first] : [first, second] };
  }
}

function victim(random: Random, { worker, api, temporal, runtime }: Shares): Victim {
  const draw = random.between(0, 1);
  if (draw < worker) return "worker";
  if (draw < worker + api) return "api";
  if (draw < worker + api + temporal) return "temporal";
  return draw < worker + api + temporal + runtime ? "runtime" : "sandbox";
}
