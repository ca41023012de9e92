/** Where two logs of one script differ, in words. */
import type { LogStructure, TurnStructure } from "./log-structure.ts";

/** Nothing when they say the same. */
export function differences(expected: LogStructure, found: LogStructure): readonly string[] {
  const differing = compare(expected.session, found.session, "session");
  const turns = Math.max(expected.turns.length, found.turns.length);
  for (let i = 0; i < turns; i++) {
    differing.push(...compare(comparable(expected.turns[i]), comparable(found.turns[i]), `turn ${i + 1}`));
  }
  return differing;
}

/** How far a stopped command or answer came, and the words about it, is for chance to say. */
function comparable(turn: TurnStructure | undefined): unknown {
  if (!turn) return undefined;
  const steps = turn.steps.map((step) => ({
    blocks: step.isWhole ? step.blocks.map(({ type, text }) => ({ type, text })) : "cut",
    calls: step.calls.map((call) => (call.outcome === "interrupted" ? { ...call, stdout: "", result: "" } : call)),
  }));
  const isCut = turn.steps.some((step) => !step.isWhole);
  return { ...turn, steps, ...(isCut && { output: "" }) };
}

function compare(expected: unknown, found: unknown, where: string): string[] {
  if (isContainer(expected) && isContainer(found)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(found)]);
    return [...keys].flatMap((key) => compare(expected[key], found[key], `${where}.${key}`));
  }
  if (expected === found) return [];
  return [`${where}: expected ${shown(expected)}, found ${shown(found)}`];
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 300 ? `${text.slice(0, 150)} … ${text.slice(-150)}` : text;
}
