/** What was sampled over time, and the judgement of each line: flat after the first third, explained, or growing. */

/** What one line is allowed to do, and why. */
export interface LineRule {
  readonly key: string;
  readonly unit: "bytes" | "count";
  /** A rise that means nothing: noise of the measurement, in the line's unit. */
  readonly slack: number;
  /** Why it may rise for the whole time. */
  readonly explained?: string;
}

export type Verdict = "flat" | "explained" | "grows";

export interface Line {
  readonly rule: LineRule;
  /** Medians of the three thirds of the time. */
  readonly thirds: readonly [number, number, number];
  readonly highest: number;
  readonly verdict: Verdict;
}

/** A rise of more than this from the middle third to the last one is growth, where it is more than the slack, too. */
const RISE_MAX = 0.1;

/** @param values one per sample, in order; at least three. */
export function judge(rule: LineRule, values: readonly number[]): Line {
  const third = Math.floor(values.length / 3);
  const thirds = [
    median(values.slice(0, third)),
    median(values.slice(third, 2 * third)),
    median(values.slice(2 * third)),
  ] as const;
  const rise = thirds[2] - thirds[1];
  const isFlat = rise <= Math.max(rule.slack, thirds[1] * RISE_MAX);
  const verdict = isFlat ? "flat" : rule.explained === undefined ? "grows" : "explained";
  return { rule, thirds, highest: Math.max(...values), verdict };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
