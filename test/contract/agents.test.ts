/** An agent has every default filled in, and no limit above its ceiling. */
import { expect, test } from "vitest";
import { Agent, AgentInput, AgentLimits, BuiltInTool, toAgent } from "../../contract/agents.ts";
import { PROBLEMS, TURN_CODES, TurnCode } from "../../contract/errors.ts";
import { CreateSession } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import { Metadata } from "../../contract/session.ts";
import { addUsage, NO_USAGE } from "../../contract/usage.ts";

const LIMIT_NAMES = AgentLimits.keyof().options;

test("an agent of nothing has all defaults, and is the same when it is read again", () => {
  const agent = Agent.parse({});

  expect(agent).toEqual({
    name: "default",
    backend: "openai",
    modelSettings: {},
    tools: [...BuiltInTool.options],
    approver: "person",
    environment: {},
    files: [],
    handoffs: [],
    limits: Object.fromEntries(LIMIT_NAMES.map((name) => [name, LIMITS[name].default])),
    artifacts: ["outputs/"],
  });
  expect(Agent.parse(JSON.parse(JSON.stringify(agent)))).toEqual(agent);
});

test("what was called backendOptions in 0.1 is taken for modelSettings, whose own words win", () => {
  const input = AgentInput.parse({
    backendOptions: { api: "responses", maxOutputTokens: 7 },
    modelSettings: { maxOutputTokens: 8 },
  });

  expect(toAgent(input)).toEqual({ ...Agent.parse({}), modelSettings: { api: "responses", maxOutputTokens: 8 } });
});

test.for(["OPENAI_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "client_secret"])(
  "a variable named %s is refused, because a profile is kept in clear",
  (name) => {
    expect(Agent.safeParse({ environment: { [name]: "x" } }).success).toBe(false);
    expect(Agent.safeParse({ environment: { [`${name}S_FILE`]: "x" } }).success).toBe(true);
  },
);

test.for(["/etc/passwd", "../x", "a/../../x", "a/", ".", "a/.", "", "a\0b"])("a file may not be laid to %j", (path) => {
  expect(Agent.safeParse({ files: [{ path, content: "" }] }).success).toBe(false);
});

test("two agents of nothing share no list that one could change for the other", () => {
  expect(Agent.parse({}).tools).not.toBe(Agent.parse({}).tools);
});

test.for(LIMIT_NAMES)("%s takes 1 and its ceiling, and refuses 0, a fraction, one more, infinity and text", (name) => {
  const ceiling = LIMITS[name].max;

  for (const value of [1, ceiling]) expect(AgentLimits.parse({ [name]: value })[name]).toBe(value);
  for (const value of [0, -1, 1.5, ceiling + 1, Number.POSITIVE_INFINITY, Number.NaN, "5", null]) {
    expect(AgentLimits.safeParse({ [name]: value }).success, String(value)).toBe(false);
  }
  expect(LIMITS[name].default).toBeLessThanOrEqual(ceiling);
});

test.for([
  ["an unknown field", { temperature: 1 }],
  ["an unknown limit", { limits: { steps: 1 } }],
  ["a tool that no provider takes by that name", { tools: ["rm -rf"] }],
  ["an unknown setting", { modelSettings: { seed: 1 } }],
  ["a temperature above 2", { modelSettings: { temperature: 2.1 } }],
  ["an empty name", { name: "" }],
  ["a model without a name", { model: "" }],
  ["instructions without end", { instructions: "x".repeat(LIMITS.instructionsBytesMax + 1) }],
  ["an output schema that is a list", { outputSchema: [] }],
  [
    "too many artifact folders",
    { artifacts: Array.from({ length: LIMITS.artifactFoldersMax + 1 }, (_, i) => `f${i}`) },
  ],
  ...["", "/", "/etc", "..", "../x", "a/..", "a/../b", "a\0b"].map(
    (folder) => [`the folder ${JSON.stringify(folder)}`, { artifacts: [folder] }] as const,
  ),
] as const)("%s is refused", ([, agent]) => {
  expect(Agent.safeParse(agent).success).toBe(false);
});

test.for([".", "outputs", "outputs/", "a/b", "a..b", "..a", "a/...", "ä ö"])("the folder %j is taken", (folder) => {
  expect(Agent.parse({ artifacts: [folder] }).artifacts).toEqual([folder]);
});

test("metadata has plain keys, bounded values and no more than its number of keys", () => {
  const many = (number: number) => Object.fromEntries(Array.from({ length: number }, (_, i) => [`k${i}`, "v"]));

  for (const taken of [{}, { "a.b:c/d-e_f": "" }, { a: "x".repeat(512) }, many(LIMITS.metadataKeysMax)]) {
    expect(Metadata.parse(taken)).toEqual(taken);
  }
  const long = { [`k${"x".repeat(64)}`]: "v" };
  for (const refused of [
    { "": "v" },
    { 'a"b': "v" },
    { "a b": "v" },
    { ä: "v" },
    long,
    { a: 1 },
    { a: "x".repeat(513) },
    many(LIMITS.metadataKeysMax + 1),
  ]) {
    expect(Metadata.safeParse(refused).success, JSON.stringify(refused).slice(0, 60)).toBe(false);
  }
});

test("a session is created from nothing, and an unknown field of it is refused by its name", () => {
  expect(CreateSession.parse({})).toEqual({ clientTools: [], metadata: {} });

  const wrong = CreateSession.safeParse({ agnet: {} });
  expect(wrong.error?.issues).toMatchObject([{ code: "unrecognized_keys", keys: ["agnet"] }]);
});

test("every code of a failed turn says whether to try again, and every problem has a status of its kind", () => {
  for (const code of TurnCode.options) expect(typeof TURN_CODES[code]).toBe("boolean");
  for (const [code, { status, title }] of Object.entries(PROBLEMS)) {
    expect(status, code).toBeGreaterThanOrEqual(400);
    expect(title, code).toMatch(/^[A-Z]/);
  }
});

test("usage is summed field by field", () => {
  const usage = { inputTokens: 1, outputTokens: 2, cachedTokens: 3, reasoningTokens: 4 };

  expect(addUsage(usage, NO_USAGE)).toEqual(usage);
  expect(addUsage(usage, usage)).toEqual({ inputTokens: 2, outputTokens: 4, cachedTokens: 6, reasoningTokens: 8 });
});
