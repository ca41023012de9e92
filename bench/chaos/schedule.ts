/** Who is killed when: endless, and the same for the same seed. */
import type { ProcessName } from "../../cli/state-directory.ts";
import { createRandom, type Random } from "./random.ts";

export interface Kill {
  /** After the kill before it. */
  readonly afterMs: number;
  /** More than one: at the same instant. */
  readonly names: readonly ProcessName[];
}

export interface Pace {
  readonly minMs: number;
  readonly maxMs: number;
}

export const PACE: Pace = { minMs: 500, maxMs: 3_200 };

export function* killSchedule(seed: number, pace: Pace = PACE): Generator<Kill, never> {
  const random = createRandom(seed);
  for (;;) {
    const afterMs = Math.round(random.between(pace.minMs, pace.maxMs));
    const first = victim(random);
    const second = random.chance(0.15) ? victim(random) : first;
    yield { afterMs, names: second === first ? [first] : [first, second] };
  }
}

function victim(random: Random): ProcessName {
  const draw = random.between(0, 1);
  if (draw < 0.5) return "worker";
  return draw < 0.8 ? "api" : "temporal";
}
