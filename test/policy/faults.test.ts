/** What is refused in a policy or a grant before it is used, and where it is said to be. */
import { expect, test } from "vitest";
import { z } from "zod";
import { BuiltInTool } from "../../contract/agents.ts";
import type { PolicyRule } from "../../contract/policy.ts";
import { patternFaults, policyFaults } from "../../policy/policy.ts";
import { createToolbox } from "../../tools/registry.ts";

test("a policy without faults has none", () => {
  const rules: PolicyRule[] = [
    { tool: "bash", arguments: { command: "git log --format='{%h' [", cwd: "app/{a,b}" }, action: "allow" },
    { tool: "read_file", arguments: { path: "src/**/[!.]*.ts" }, action: "allow" },
    { tool: "mine", arguments: { path: "/api/{", url: "../x", constructor: "{" }, action: "ask" },
  ];
  expect(policyFaults({ rules })).toEqual([]);
});

test("each fault is told with its place", () => {
  const faults = policyFaults({
    rules: [
      { tool: "bash", action: "deny" },
      { tool: "read_file", arguments: { path: "../x" }, action: "allow" },
      { tool: "bash", arguments: { command: "  ", cwd: "/tmp" }, action: "allow" },
      { tool: " ", arguments: { "a/b~c": "x\0" }, action: "allow" },
    ],
  });

  expect(faults).toEqual([
    { path: "/rules/1/arguments/path", message: "the glob leads out of the workspace: .. is not allowed in a glob" },
    { path: "/rules/2/arguments/command", message: "the pattern is empty: * stands for any text" },
    { path: "/rules/2/arguments/cwd", message: expect.stringContaining("leads out of the workspace") },
    { path: "/rules/3/tool", message: "the pattern is empty: * stands for any text" },
    { path: "/rules/3/arguments/a~1b~0c", message: "the pattern holds a NUL, which no argument can" },
  ]);
});

test.each(["*", "read_*", "r*d_file", "grep"])(
  "a glob in a rule for %j is looked at as the built-in tools take it",
  (tool) => {
    expect(policyFaults({ rules: [{ tool, arguments: { path: "src/{a" }, action: "allow" }] })).toHaveLength(1);
  },
);

test("a pattern that is too long is refused", () => {
  expect(patternFaults({ a: "x".repeat(1_001) })).toEqual([
    { path: "/a", message: "the pattern is longer than 1000 characters" },
  ]);
});

test("a grant's globs are looked at when the call's kinds are given", () => {
  expect(patternFaults({ path: "../x" })).toEqual([]);
  expect(patternFaults({ path: "../x" }, { path: "path" })).toHaveLength(1);
  expect(patternFaults({ path: "src/**" }, { path: "path" })).toEqual([]);
});

test("the kinds of the built-in tools' arguments are those of the tools", () => {
  const { tools } = createToolbox();
  expect(tools.map(({ name }) => name).toSorted()).toEqual([...BuiltInTool.options].toSorted());
  for (const { name, parameters, argumentKinds = {} } of tools) {
    for (const argument of Object.keys(z.toJSONSchema(parameters, { io: "input" }).properties ?? {})) {
      const faults = policyFaults({ rules: [{ tool: name, arguments: { [argument]: ".." }, action: "deny" }] });
      expect([name, argument, faults.length]).toEqual([name, argument, argumentKinds[argument] === "path" ? 1 : 0]);
    }
  }
});

test("a pattern for an argument that a built-in tool does not have is refused: it would forbid nothing", () => {
  const rules: PolicyRule[] = [{ tool: "bash", arguments: { cmd: "rm *", constructor: "x" }, action: "deny" }];

  expect(policyFaults({ rules })).toEqual([
    { path: "/rules/0/arguments/cmd", message: "bash has no such argument; it has command, cwd, timeoutMs" },
    { path: "/rules/0/arguments/constructor", message: expect.stringContaining("no such argument") },
  ]);
  // Without bash among the agent's own, a client's tool may have the name.
  expect(policyFaults({ rules }, ["read_file"])).toEqual([]);
});
