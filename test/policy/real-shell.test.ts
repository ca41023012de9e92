/** What a policy allows is run by real shells: nothing runs that no rule allows. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { judge } from "../../policy/policy.ts";
import { aCommand, commandPolicy, judgeCommand } from "./calls.ts";
import { attackLine, brokenLine, plainLine } from "./generated-lines.ts";
import { createRandom } from "./random.ts";
import { hasBubblewrap, hasShell, type Ran, runLines } from "./real-shell.ts";

/** Every program and wrapper of the generated lines, and nothing that their payloads run. */
const ALLOWED = commandPolicy(
  ...(["git status *", "ls *", "cat *", "echo *", "printf *", "test *", "[ *", "cd *", "true *", ": *"] as const).map(
    (pattern) => `allow ${pattern}` as const,
  ),
  ...(
    [
      "timeout *",
      "nice *",
      "env *",
      "xargs *",
      "find *",
      "bash -c *",
      "sh -c *",
      "command *",
      "trap *",
      "eval *",
    ] as const
  ).map((pattern) => `allow ${pattern}` as const),
  "allow read *",
  "allow declare *",
  "allow echo * > out/*",
  "allow cat * >> out/*",
);
const MAY_RUN = /^(?:git status|ls|cat)(?: |$)/;
const SEEDS = [1, 2, 3] as const;
const LINES_PER_SEED = 1_500;

/** Lines that run `rm` if bash reads them as it may: each kind ran past a policy once, or might. */
const ATTACKS = z
  .array(z.string())
  .parse(JSON.parse(readFileSync(path.join(import.meta.dirname, "attack-lines.json"), "utf8")));

if (!hasBubblewrap()) process.stderr.write("SKIPPED: no bubblewrap here, so no line was run in a real shell\n");

describe.skipIf(!hasBubblewrap())("in real shells", { timeout: 250_000 }, () => {
  const shells = ["bash", "dash"].filter(hasShell);

  test("the stand-ins leave their marks", () => {
    const ran = runLines(["rm x y", "/usr/bin/id", "git status | cat", "ls > out/a", "echo 'git push'"], "bash");

    expect(ran.map(({ programs }) => programs.toSorted())).toEqual([
      ["rm x y"],
      ["id "],
      ["cat ", "git status"],
      ["ls "],
      [],
    ]);
    expect(ran[3]?.files).toEqual(["out/a"]);
  });

  test("no known attack on a forbidden command runs it while it is allowed by default", () => {
    const policy = { ...commandPolicy("deny rm *"), default: "allow" as const };
    const allowed = ATTACKS.filter((line) => judge(policy, aCommand(line)).action === "allow");

    for (const shell of shells) expect(found(allowed, shell, ({ programs }) => programs.some(isRm))).toEqual([]);
  });

  test("no known attack is allowed by rules for other commands and runs it", () => {
    const policy = { ...ALLOWED, default: "deny" as const };
    const allowed = ATTACKS.filter((line) => judge(policy, aCommand(line)).action === "allow");

    for (const shell of shells) expect(found(allowed, shell, runsMore)).toEqual([]);
  });

  test.each(SEEDS)("seed %i: of generated lines only what rules allow is run", (seed) => {
    const random = createRandom(seed);
    const lines = Array.from({ length: LINES_PER_SEED }, (_, round) =>
      round % 10 === 0 ? plainLine(random) : random() < 0.5 ? attackLine(random) : brokenLine(random),
    );
    const allowed = [...new Set(lines)].filter((line) => judge(ALLOWED, aCommand(line)).action === "allow");

    expect(allowed.length).toBeGreaterThan(50);
    for (const shell of shells) expect(found(allowed, shell, runsMore)).toEqual([]);
  });

  function found(lines: readonly string[], shell: string, isWrong: (ran: Ran) => boolean): readonly string[] {
    const ran = runLines(lines, shell);
    return lines.filter((_line, index) => isWrong(ran[index] ?? { programs: [], files: [] }));
  }
});

test("what a bypass would need is not allowed in words either", () => {
  expect(judgeCommand("git status -s; [[ -v 'a[$(id)]' ]]", "allow git status *").action).toBe("ask");
});

function isRm(program: string): boolean {
  return /^rm(?: |$)/.test(program);
}

function runsMore({ programs, files }: Ran): boolean {
  return programs.some((program) => !MAY_RUN.test(program)) || files.some((file) => !/^out\//.test(file));
}
