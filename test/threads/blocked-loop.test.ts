/** Whatever a stranger writes, the event loop goes on: lines, patterns, schemas and arguments that were made to cost much. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${ is the shell's here
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { LIMITS } from "../../contract/limits.ts";
import type { Policy } from "../../contract/policy.ts";
import { faultsOfPolicy, judgeCall, matchRemembered } from "../../threads/judgement.ts";
import { argumentsBySchema, checkOutput, faultsOfArguments, faultsOfSchemas } from "../../threads/schemas.ts";
import { readParameters } from "../../tools/plugin-parameters.ts";
import { readFile } from "../../tools/read-file.ts";
import { parseArguments, parseArgumentsBy } from "../../tools/registry.ts";
import { aCall, aCommand, commandPolicy } from "../policy/calls.ts";

/** Far above what the work itself takes here, far below what it took: other tests run at the same time. */
const BLOCKED_MAX_MS = 1_000;

async function blockedBy(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  await work();
  delay.disable();
  return delay.max / 1e6;
}

const SIZE = LIMITS.commandParsedMax - 100;
const HARD_LINES = {
  "fd with many -x": `fd ${"-x ".repeat(SIZE / 3)}`,
  "find with many -exec": `find ${"-exec ".repeat(SIZE / 6)}`,
  "wrappers in wrappers": `${"sudo ".repeat(SIZE / 5)}ls`,
  brackets: "[".repeat(SIZE),
  "open arrays": "a=(".repeat(SIZE / 3),
  substitutions: "$(".repeat(SIZE / 2),
  backquotes: "`".repeat(SIZE),
  "parameter expansions": `\${a:-${"x".repeat(10)}}`.repeat(SIZE / 20),
  "nested parameter expansions": "${a:-".repeat(SIZE / 5),
  quotes: `"'`.repeat(SIZE / 2),
  "here-documents": "cat <<E\n".repeat(90) + "x\n".repeat(SIZE / 4),
  arithmetic: `((${"(a+".repeat(SIZE / 3)}`,
  braces: "{a,b}".repeat(SIZE / 5),
  "open braces": "{a,".repeat(SIZE / 3),
  "extended patterns": "@(a|".repeat(SIZE / 4),
  cases: "case a in a) ".repeat(SIZE / 13),
  "shells in shells": `bash -c "${"bash -c ' ".repeat(SIZE / 10)}`,
  commands: "ls;".repeat(SIZE / 3),
  words: "a ".repeat(SIZE / 2),
  pipes: "$x|".repeat(SIZE / 3),
} as const;

describe("a command line", () => {
  const policy = {
    ...commandPolicy("deny rm *", "allow git status *", "ask git push*--force"),
    default: "allow" as const,
  };

  test.each(Object.entries(HARD_LINES))("of %s", { timeout: 60_000 }, async (_kind, line) => {
    const blocked = await blockedBy(() => judgeCall(policy, aCommand(line), "session"));

    expect(blocked).toBeLessThan(BLOCKED_MAX_MS);
  });

  test("that is hard is never allowed", { timeout: 60_000 }, async () => {
    for (const line of Object.values(HARD_LINES).slice(0, 4)) {
      expect((await judgeCall(policy, aCommand(line), "session")).action).not.toBe("allow");
    }
  });
});

test("a policy of 200 rules with large patterns is matched with large arguments elsewhere", {
  timeout: 60_000,
}, async () => {
  const text = "ab".repeat(1_000_000);
  const rules = Array.from({ length: 200 }, () => ({
    tool: "*",
    arguments: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`a${i}`, `${"*a*b".repeat(240)}c`])),
    action: "allow" as const,
  }));
  const call = aCall({ arguments: Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`a${i}`, text])) });

  expect(await blockedBy(() => judgeCall({ rules }, call, "session"))).toBeLessThan(BLOCKED_MAX_MS);
  expect(
    await blockedBy(() =>
      matchRemembered(
        rules.map(({ arguments: match }) => ({ match, action: "allow" as const })),
        call,
        "session",
      ),
    ),
  ).toBeLessThan(BLOCKED_MAX_MS);
});

test("a policy of globs full of braces is looked at elsewhere", { timeout: 60_000 }, async () => {
  const glob = `${"{a,b}".repeat(6)}${"x".repeat(900)}`;
  const policy: Policy = {
    rules: Array.from({ length: 200 }, () => ({
      tool: "read_file",
      arguments: { path: glob },
      action: "allow" as const,
    })),
  };

  expect(await blockedBy(() => faultsOfPolicy(policy, ["read_file"]))).toBeLessThan(BLOCKED_MAX_MS);
});

describe("a schema", () => {
  const catastrophe = { properties: { a: { type: "string", pattern: "^(a+)+$" } } };
  const large = { properties: Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`p${i}`, { enum: [i] }])) };
  const text = `${"a".repeat(40)}!`;

  test("that takes long is refused in words, with 63 others", { timeout: 60_000 }, async () => {
    let faults: readonly (string | undefined)[] = [];
    const blocked = await blockedBy(async () => {
      faults = await faultsOfSchemas([{ type: 7 }, ...Array.from({ length: 63 }, () => large)]);
    });

    expect(blocked).toBeLessThan(BLOCKED_MAX_MS);
    expect(faults).toHaveLength(64);
    expect(faults[0]).toContain("expected a JSON schema");
  });

  test("with a pattern that never ends checks nothing, and says so", { timeout: 60_000 }, async () => {
    const checks = async (): Promise<void> => {
      expect(await faultsOfArguments(catastrophe, { a: text })).toEqual([
        { path: "", message: expect.stringContaining("cannot be checked") },
      ]);
      expect(await checkOutput(catastrophe, JSON.stringify({ a: text }), { key: "session" })).toEqual({
        errors: expect.stringContaining("could not be checked"),
      });
    };

    expect(await blockedBy(checks)).toBeLessThan(BLOCKED_MAX_MS);
  });

  test("of a worker's own tool keeps nobody waiting either, and the model is told", { timeout: 60_000 }, async () => {
    const { schema, isHard, jsonSchema } = await readParameters({ type: "object", ...catastrophe });
    const tool = { ...readFile, name: "look", parameters: schema, ...(isHard && { hardSchema: jsonSchema }) };
    const parse = (raw: unknown) =>
      parseArgumentsBy((hard, args) => argumentsBySchema(hard, args, "session"), tool, raw);

    let parsed: unknown;
    const blocked = await blockedBy(async () => {
      parsed = await parse({ a: text });
    });

    expect(blocked).toBeLessThan(BLOCKED_MAX_MS);
    expect(parsed).toEqual({
      error: expect.stringMatching(/look are wrong.*\n- arguments: they could not be checked: it /),
    });
    expect(await parse({ a: "aaa", b: null })).toEqual({ args: { a: "aaa", b: null } });
    expect(await parse({ a: "b" })).toEqual({ error: expect.stringContaining('- a: must match pattern "^(a+)+$"') });
    expect(await parse({ a: "x".repeat(LIMITS.toolArgumentsBytes) })).toEqual({
      error: expect.stringContaining("too long"),
    });
  });

  test("of zod in a worker's own tool is given up after its time", { timeout: 60_000 }, async () => {
    const { schema } = await readParameters(z.object({ a: z.string().regex(/^(a+)+$/) }));

    const tool = { ...readFile, name: "look", parameters: schema };

    expect(parseArguments(tool, { a: text })).toEqual({
      error: expect.stringContaining("could not be checked: it takes more"),
    });
    expect(parseArguments(tool, { a: "aa" })).toEqual({ args: { a: "aa" } });
  });

  test("that is sound is checked with", async () => {
    expect(await checkOutput({ type: "object", required: ["a"] }, '{"a":1}', { key: "session" })).toEqual({
      value: { a: 1 },
    });
    expect(await faultsOfArguments({ required: ["a"] }, {})).toEqual([{ path: "/a", message: "this is required" }]);
  });
});
