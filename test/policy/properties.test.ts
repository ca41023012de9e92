/** What holds for every call: lines are put together at random, from a seed that is told when one fails. */
import { posix } from "node:path";
import { describe, expect, test } from "vitest";
import type { PolicyAction } from "../../contract/policy.ts";
import { judge, matchesArguments } from "../../policy/policy.ts";
import { aCall, aCommand, aPath, commandPolicy, GUARDED } from "./calls.ts";
import { createRandom, pick, type Random } from "./random.ts";

const STRICTNESS: Readonly<Record<PolicyAction, number>> = { allow: 0, ask: 1, deny: 2 };
const WORDS = ["git", "rm", "ls", "echo", "a", "-c", "'x y'", "$x", "*", "{a,b}", "x=1", "#", "~", "1", "E"] as const;
const MARKS =
  "; & && || | |& \n ( ) { } ' \" ` \\ $( $(( )) ${ <( < > >> << <<< >&2 ! [[ ]] (( if then fi for in do done case esac ;; while time coproc function f() eval sh $' \\\n \t \0 é 😀 \r a=( a[ @( +(".split(
    / /,
  );

/** Words and marks in any order: hardly ever a line that means something. */
function anyLine(random: Random): string {
  const length = 1 + Math.floor(random() * 20);
  return Array.from({ length }, () => (random() < 0.5 ? pick(random, WORDS) : pick(random, [" ", ...MARKS]))).join(
    random() < 0.5 ? " " : "",
  );
}

/** A line that bash would read: commands in lists, groups and substitutions. */
function shellLine(random: Random, depth = 3): string {
  if (depth === 0)
    return `${pick(random, ["git", "ls", "echo", "cat", "make"])} ${pick(random, ["a", "'b;c'", "$x", '"d $y"'])}`;
  const one = shellLine(random, depth - 1);
  const other = shellLine(random, depth - 1);
  return pick(random, [
    one,
    `${one}; ${other}`,
    `${one} && ${other}`,
    `${one} | ${other}`,
    `( ${one} )`,
    `{ ${one}; }`,
    `if ${one}; then ${other}; fi`,
    `echo "$(${one})"`,
    `for i in a b; do ${one}; done`,
    `cat <<'E'\nrm x\nE\n${one}`,
    `! ${one}`,
  ]);
}

describe.each([1, 2, 3])("seed %i", (seed) => {
  test("no line makes the judgement throw, or come out otherwise the second time", () => {
    const random = createRandom(seed);
    for (let round = 0; round < 600; round += 1) {
      const line = anyLine(random);
      const verdict = judge(commandPolicy(...GUARDED), aCommand(line));
      expect([line, judge(commandPolicy(...GUARDED), aCommand(line))]).toEqual([line, verdict]);
      expect(typeof matchesArguments({ command: "git *" }, aCommand(line))).toBe("boolean");
    }
  });

  test("a denied command behind a line denies the line", () => {
    const random = createRandom(seed);
    for (let round = 0; round < 200; round += 1) {
      const line = shellLine(random);
      for (const longer of [
        `${line}\nrm x`,
        `${line} && rm x`,
        `rm x; ${line}`,
        `( ${line}\n) | rm`,
        `echo $(${line}\nrm x)`,
      ]) {
        expect([longer, judge(commandPolicy(...GUARDED), aCommand(longer)).action]).toEqual([longer, "deny"]);
      }
    }
  });

  test("a line is never judged more leniently than a part of it", () => {
    const random = createRandom(seed);
    for (let round = 0; round < 200; round += 1) {
      const [one, other] = [shellLine(random), shellLine(random)];
      const [part, whole] = [one, `${one}\n${other}`].map(
        (line) => judge(commandPolicy(...GUARDED), aCommand(line)).action,
      );
      expect([one, other, STRICTNESS[whole ?? "allow"] >= STRICTNESS[part ?? "deny"]]).toEqual([one, other, true]);
    }
  });

  test("a rule put before the others that denies never makes a verdict milder, one behind them never counts for what they decide", () => {
    const random = createRandom(seed);
    for (let round = 0; round < 200; round += 1) {
      const call = aCommand(anyLine(random));
      const before = judge(commandPolicy(...GUARDED), call).action;
      expect(STRICTNESS[judge(commandPolicy("deny ls *", ...GUARDED), call).action]).toBeGreaterThanOrEqual(
        STRICTNESS[before],
      );
      if (before === "allow") expect(judge(commandPolicy(...GUARDED, "deny *"), call).action).toBe("allow");
    }
  });

  test("no path makes the judgement throw, and none that leads out is allowed", () => {
    const random = createRandom(seed);
    const rules = {
      rules: [{ tool: "*", arguments: { path: "**" }, action: "allow" as const }],
      default: "ask" as const,
    };
    for (let round = 0; round < 1_000; round += 1) {
      const parts = Array.from({ length: 6 }, () => pick(random, ["a", "..", ".", "", "/", "project", "~", "\\", "*"]));
      const path = parts.join("/");
      const { action } = judge(rules, aPath(path));
      if (action === "allow") expect(posix.resolve("/project", path)).toMatch(/^\/project(\/|$)/);
    }
  });
});

test.each([
  ["a function", () => undefined],
  ["a symbol", Symbol("x")],
  ["a big number", 10n],
  ["what is nested too deeply", Array.from({ length: 1_000 }).reduce((inner) => ({ inner }), {})],
  ["nothing", undefined],
])("an argument that is %s is judged", (_what, value) => {
  const rules = { rules: [{ tool: "*", arguments: { a: "x", command: "x", path: "x" }, action: "deny" as const }] };

  expect(judge(rules, aCall({ arguments: { a: value } })).action).toBe("ask");
  expect(judge(rules, aCommand(value)).action).toBe("ask");
  expect(judge(rules, aPath(value)).action).toBe("allow");
});
