/** The table of tools: what a model is told, and that what it asks for is checked in words it can act on. */
import { expect, test } from "vitest";
import { z } from "zod";
import { BuiltInTool } from "../../contract/agents.ts";
import { LIMITS } from "../../contract/limits.ts";
import { createToolbox, parseArguments } from "../../tools/registry.ts";
import type { Tool } from "../../tools/tool.ts";

const TOOLBOX = createToolbox();

function tool(name: string): Tool {
  const found = TOOLBOX.find(name);
  if (!found) throw new Error(`there is no tool ${name}`);
  return found;
}

test("the table holds exactly the tools of the contract, each under its name", () => {
  expect(TOOLBOX.tools.map(({ name }) => name)).toEqual(BuiltInTool.options);
  expect(BuiltInTool.options.map((name) => TOOLBOX.find(name)?.name)).toEqual(BuiltInTool.options);
});

test("a declaration is a strict JSON schema with a description for the tool and each parameter", () => {
  for (const { name, description, parameters } of TOOLBOX.declarations(BuiltInTool.options)) {
    expect(description.length, name).toBeGreaterThan(20);
    expect(parameters, name).toMatchObject({ type: "object", additionalProperties: false });
    expect(parameters["$schema"], name).toBeUndefined();
    for (const property of Object.values(parameters["properties"] ?? {})) {
      expect(property, name).toMatchObject({ description: expect.any(String) });
    }
  }
});

test("what has a default may be left out", () => {
  const [declared] = TOOLBOX.declarations(["bash"]);

  expect(declared?.parameters["required"]).toEqual(["command"]);
  expect(parseArguments(tool("bash"), { command: "ls", cwd: null })).toEqual({
    args: { command: "ls", timeoutMs: LIMITS.commandTimeoutMs.default },
  });
});

test("the declarations of a tool are the same objects each time", () => {
  expect(TOOLBOX.declarations(["grep"])[0]).toBe(TOOLBOX.declarations(["bash", "grep"])[1]);
});

test("every wrong argument is named with its path and what was expected", () => {
  const parsed = parseArguments(tool("bash"), { command: 3, timeoutMs: "soon", shell: "zsh" });

  expect(parsed).toEqual({
    error: [
      "The arguments of bash are wrong, so it did not run:",
      "- command: expected string, received number",
      "- timeoutMs: expected number, received string",
      '- arguments: Unrecognized key: "shell"',
    ].join("\n"),
  });
});

test.each([
  ["a missing argument", { path: "a" }, /- content: expected string, received undefined/],
  ["a null for a required one", { path: "a", content: null }, /- content: expected string/],
  ["an empty path", { path: "", content: "" }, /- path: /],
  ["a list", [1], /not a JSON object: \[1\]/],
  ["nothing", undefined, /not a JSON object: nothing/],
  ["text that is no JSON", '{"path": "a', /not a JSON object: \{"path": "a\nSend one JSON object\./],
  ["a long text that is no JSON", "x".repeat(5_000), /^.{500,600}…\n/],
  ["arguments that are too long", { path: "a", content: "x".repeat(3_000_000) }, /too long: expected at most 2097152/],
])("%s is refused in words", (_, raw, words) => {
  expect(parseArguments(tool("write_file"), raw)).toEqual({ error: expect.stringMatching(words) });
});

test("a summary is one line that says what runs", () => {
  expect(tool("bash").summary({ command: "\nnpm test\nrm -rf x" })).toBe("bash: npm test");
});

test("an argument that may be null keeps its null", () => {
  const parameters = z.strictObject({ until: z.string().nullable() });

  expect(parseArguments({ ...tool("grep"), parameters }, { until: null })).toEqual({ args: { until: null } });
});

test("tools that are added are found and declared like the others, and what is not there is left out", () => {
  const added: Tool = { ...tool("grep"), name: "look", jsonSchema: { type: "object", properties: {} } };
  const toolbox = createToolbox([added]);

  expect(toolbox.find("look")).toBe(added);
  expect(toolbox.declarations(["look", "toString", "grep"]).map(({ name }) => name)).toEqual(["look", "grep"]);
  expect(toolbox.declarations(["look"])[0]?.parameters).toEqual({ type: "object", properties: {} });
});

test("two tools of one name are refused", () => {
  expect(() => createToolbox([tool("grep")])).toThrow("there are two tools named grep");
});
