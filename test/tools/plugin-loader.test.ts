/** Modules with tools of one's own: what is taken as a plugin, and every fault of one told in a line. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { BuiltInTool } from "../../contract/agents.ts";
import { redact } from "../../contract/redaction.ts";
import { loadPlugins, PluginError, type SourcedTool } from "../../tools/plugin-loader.ts";
import { PluginWork } from "../../tools/plugin-work.ts";
import { createToolbox, parseArguments } from "../../tools/registry.ts";
import { temporaryFolder } from "../store/store-builder.ts";

const TOOL = '{ name: "look", description: "Looks.", parameters: { type: "object" }, execute: () => 1 }';
const ZOD = JSON.stringify(new URL("../../node_modules/zod/index.js", import.meta.url).href);

/** Loads modules of these sources, named 0.mjs, 1.mjs … */
async function load(...sources: readonly string[]): Promise<readonly SourcedTool[]> {
  using folder = temporaryFolder();
  sources.forEach((source, i) => {
    writeFileSync(path.join(folder.path, `${i}.mjs`), source);
  });
  return await loadIn(folder.path, ...sources.map((_, i) => `./${i}.mjs`));
}

function loadIn(folder: string, ...modules: readonly string[]): Promise<readonly SourcedTool[]> {
  return loadPlugins(modules, { folder, log: () => undefined, redact, work: new PluginWork() });
}

/** The lines of the error that they are refused with. */
async function faults(loading: Promise<unknown>): Promise<readonly string[]> {
  const error: unknown = await loading.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PluginError)) throw new Error(`expected a PluginError, found ${String(error)}`);
  return error.message.split("\n");
}

/** A plugin with one tool that has these fields besides those it needs. */
const withField = (field: string): string =>
  `export default { name: "p", tools: [{ name: "look", description: "Looks.", parameters: { type: "object" }, execute: () => 1, ${field} }] };`;

test.each([
  ["the default export", `export default { name: "p", tools: [${TOOL}] };`],
  ["any other export", `export const mine = { name: "p", tools: [${TOOL}] }; export const help = (x) => x;`],
  ["a list", `export default [{ name: "p", tools: [${TOOL}] }];`],
  ["the same under two names", `export const mine = { name: "p", tools: [${TOOL}] }; export default mine;`],
  [
    "an instance of a class",
    `class Look { name = "look"; description = "Looks."; parameters = { type: "object" }; execute() { return this.name; } }
     export default { name: "p", tools: [new Look()] };`,
  ],
  [
    "a plugin that is the default beside other values",
    `export const x = { a: 1 }; export default { name: "p", tools: [${TOOL}] };`,
  ],
])("%s is taken as a plugin", async (_, source) => {
  expect((await load(source)).map(({ source: from, tool }) => [from, tool.name])).toEqual([["p", "look"]]);
});

test("what a tool leaves out has the careful default", async () => {
  const [look] = await load(`export default { name: "p", tools: [${TOOL}] };`);

  expect(look?.tool).toMatchObject({
    replay: "ask",
    changesWorld: true,
    changesFiles: true,
    needsApproval: false,
    quick: false,
    jsonSchema: { type: "object" },
  });
});

test("a TypeScript module, a CommonJS one and a package of the folder are loaded", async () => {
  using folder = temporaryFolder();
  mkdirSync(path.join(folder.path, "node_modules", "my-tools"), { recursive: true });
  const named = (name: string): string => TOOL.replace('"look"', `"${name}"`);
  writeFileSync(
    path.join(folder.path, "a.ts"),
    `const tools: readonly object[] = [${named("a")}];\nexport const p = { name: "a", tools };`,
  );
  writeFileSync(path.join(folder.path, "b.cjs"), `module.exports = { name: "b", tools: [${named("b")}] };`);
  writeFileSync(
    path.join(folder.path, "node_modules", "my-tools", "index.js"),
    `exports.plugin = { name: "c", tools: [${named("c")}] };`,
  );

  const loaded = await loadIn(folder.path, "a.ts", path.join(folder.path, "b.cjs"), "my-tools");

  expect(loaded.map(({ source }) => source)).toEqual(["a", "b", "c"]);
});

test("a module that is named twice is loaded once", async () => {
  using folder = temporaryFolder();
  writeFileSync(path.join(folder.path, "a.mjs"), `export default { name: "p", tools: [${TOOL}] };`);

  expect(await loadIn(folder.path, "./a.mjs", "./a.mjs")).toHaveLength(1);
});

test.each([
  ["throws", "throw new Error('no weather\\n today');", "./0.mjs: it cannot be loaded: Error: no weather; today"],
  ["is no JavaScript", "export default {", /^\.\/0\.mjs: it cannot be loaded: \w*Error: /],
  [
    "imports what is not there",
    'import "./missing.mjs"; export default {};',
    /^\.\/0\.mjs: it cannot be loaded: Error: /,
  ],
  ["exports nothing", "", /^\.\/0\.mjs: it exports no tool plugin; expected an export such as \{name, tools/],
  ["exports other things", "export const tool = { execute() {} };", /it exports no tool plugin/],
  [
    "exports another thing by default",
    "export default { name: 'p' };",
    /the plugin is not usable: tools: expected array/,
  ],
  [
    "has a plugin without a name",
    `export default { tools: [${TOOL}] };`,
    /the plugin is not usable: name: expected string/,
  ],
  [
    "has a plugin without tools",
    "export default { name: 'p', tools: [] };",
    /the plugin is not usable: tools: Too small/,
  ],
  [
    "has a list with something else in it",
    `export default [{ name: "p", tools: [${TOOL}] }, 3];`,
    /the plugin is not usable: expected object/,
  ],
])("a module that %s is one fault", async (_, source, fault) => {
  const found = await faults(load(source));

  expect(found).toHaveLength(1);
  expect(found[0]).toEqual(typeof fault === "string" ? fault : expect.stringMatching(fault));
});

test("a module that is not there is told as such", async () => {
  using folder = temporaryFolder();
  expect(await faults(loadIn(folder.path, "./a.ts", "no-such-package"))).toEqual([
    "./a.ts: there is no such module",
    "no-such-package: there is no such module",
  ]);
});

test.each([
  ["name: 'has space'", /the tool "has space" is not usable: name: expected a tool's name/],
  ["name: 'bash'", /name: there is a built-in tool bash; expected another name/],
  ["name: 'transfer_to_x'", /name: transfer_to_… is for handoffs/],
  ["name: 3", /tools\[0\] is not usable: name: expected string/],
  ["description: ''", /the tool "look" is not usable: description: /],
  ["execute: 'x'", /execute: expected a function/],
  ["replay: 'never'", /replay: .*"safe"\|"keyed"\|"ask"/],
  ["replays: 'safe'", /Unrecognized key: "replays"/],
  ["timeoutMs: 0", /timeoutMs: Too small/],
  ["timeoutMs: 1e12", /timeoutMs: Too big/],
  ["changesWorld: 'no'", /changesWorld: expected boolean/],
  ["argumentKinds: { a: 'url' }", /argumentKinds\.a: /],
  ["parameters: 'x'", /parameters: expected a schema/],
  ["parameters: []", /parameters: expected a schema of zod 4 or a JSON schema/],
  ["parameters: { type: 'string' }", /parameters: expected an object at its top \("type": "object"\), found "string"/],
  ["parameters: {}", /parameters: expected an object at its top .* found "none"/],
  ["parameters: { type: 'object', properties: 3 }", /parameters: it is no valid JSON schema: /],
  ["parameters: { type: 'object', a: 1n }", /parameters: it is not JSON: /],
  ["parameters: { safeParse() {}, _def: {} }", /parameters: .* this one cannot be told to a model/],
])("a tool with %s is refused, and the field named", async (field, fault) => {
  expect(await faults(load(withField(field)))).toEqual([expect.stringMatching(fault)]);
});

test("a zod schema that no JSON schema can say is refused", async () => {
  const source = `import { z } from ${ZOD}; ${withField("parameters: z.object({ at: z.date() })")}`;

  expect(await faults(load(source))).toEqual([
    expect.stringMatching(/parameters: it cannot be written as a JSON schema: .*[Dd]ate/),
  ]);
});

test("every built-in tool's name is taken", async () => {
  for (const name of BuiltInTool.options) {
    expect(await faults(load(withField(`name: "${name}"`)))).toHaveLength(1);
  }
});

test("all faults of all modules are told at once, each in a line of its own", async () => {
  const twoFaults = `export default { name: "p", tools: [{ ...${TOOL}, replay: 1 }, { ...${TOOL}, name: "bash" }] };`;

  expect(await faults(load(twoFaults, "throw 1", `export default { name: "q", tools: [${TOOL}] };`))).toEqual([
    expect.stringMatching(/^\.\/0\.mjs: the plugin p: the tool "look" is not usable: replay/),
    expect.stringMatching(/^\.\/0\.mjs: the plugin p: the tool "bash" is not usable: name/),
    "./1.mjs: it cannot be loaded: 1",
  ]);
});

test("a tool that two modules have, or one twice, is a fault that names both", async () => {
  const plugin = `export default { name: "p", tools: [${TOOL}] };`;
  expect(await faults(load(plugin, plugin))).toEqual(["./1.mjs: the tool look is there twice; ./0.mjs has it too"]);
  expect(await faults(load(`export default { name: "p", tools: [${TOOL}, ${TOOL}] };`))).toEqual([
    "./0.mjs: the tool look is there twice",
  ]);
});

test("a fault holds no secret", async () => {
  const [fault] = await faults(load("throw new Error('cannot log in with sk-abcdefgh12345678')"));

  expect(fault).toContain("[redacted]");
  expect(fault).not.toContain("abcdefgh");
});

test("arguments are checked by a JSON schema, in the words of the built-in tools, and its defaults are filled in", async () => {
  const schema = {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer", default: 3 }, "a/b": { enum: ["x"] } },
    required: ["city"],
    additionalProperties: false,
  };
  const [look] = await load(withField(`parameters: ${JSON.stringify(schema)}`));
  const tool = look?.tool ?? expect.fail("no tool");
  const given = { city: "Paris" };

  expect(parseArguments(tool, given)).toEqual({ args: { city: "Paris", days: 3 } });
  expect(given).toEqual({ city: "Paris" });
  expect(parseArguments(tool, { days: "many", town: "x", "a/b": "y" })).toEqual({
    error: [
      "The arguments of look are wrong, so it did not run:",
      "- arguments: must have required property 'city'",
      '- arguments: must NOT have additional properties: "town"',
      "- days: must be integer",
      '- a/b: must be equal to one of the allowed values: ["x"]',
    ].join("\n"),
  });
  expect(createToolbox([tool]).declarations(["look"])[0]?.parameters).toEqual(schema);
});

test("a zod schema of the module's own checks, fills in and changes its arguments", async () => {
  const parameters =
    'z.strictObject({ city: z.string().describe("Which."), days: z.number().default(3), at: z.string().transform((s) => s.length) })';
  const [look] = await load(`import { z } from ${ZOD}; ${withField(`parameters: ${parameters}`)}`);
  const tool = look?.tool ?? expect.fail("no tool");

  expect(parseArguments(tool, { city: "Paris", at: "noon" })).toEqual({ args: { city: "Paris", days: 3, at: 4 } });
  expect(parseArguments(tool, { city: 3, at: "", x: 1 })).toEqual({
    error: expect.stringMatching(/- city: expected string, received number\n- arguments: Unrecognized key: "x"/),
  });
  expect(createToolbox([tool]).declarations(["look"])[0]?.parameters).toEqual({
    type: "object",
    properties: {
      city: { type: "string", description: "Which." },
      days: { type: "number", default: 3 },
      at: { type: "string" },
    },
    required: ["city", "at"],
    additionalProperties: false,
  });
});

test("a schema of another zod, that ours knows nothing of, is asked by its own methods", async () => {
  const foreign = `{ _zod: {}, toJSONSchema: () => ({ $schema: "x", type: "object" }),
    safeParse: (raw) => raw.ok ? { success: true, data: { seen: true } } : { success: false, error: { issues: [{ path: ["ok"], message: "expected ok" }] } } }`;
  const [look] = await load(withField(`parameters: ${foreign}`));
  const tool = look?.tool ?? expect.fail("no tool");

  expect(parseArguments(tool, { ok: 1 })).toEqual({ args: { seen: true } });
  expect(parseArguments(tool, {})).toEqual({ error: expect.stringContaining("- ok: expected ok") });
  expect(tool.jsonSchema).toEqual({ type: "object" });
});

test("a check that throws, or that has to be waited for, is the call's error and not the worker's", async () => {
  const later = "z.object({ a: z.string().refine(async () => true) })";
  const [look] = await load(`import { z } from ${ZOD}; ${withField(`parameters: ${later}`)}`);

  expect(parseArguments(look?.tool ?? expect.fail("no tool"), { a: "x" })).toEqual({
    error: expect.stringContaining("they could not be checked"),
  });
});
