/** Every call of a reply is planned or answered, the answer stays small, and no summary holds a secret. */
import { expect, test } from "vitest";
import { planCalls as planWith } from "../../activities/planned-calls.ts";
import { Agent } from "../../contract/agents.ts";
import type { ReplyBlock, ToolCallBlock } from "../../contract/blocks.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { StepAnswer } from "../../contract/steps.ts";
import { aGatekeeper } from "./gatekeeper-builder.ts";

const agent = Agent.parse({});
const planCalls = (of: Agent, blocks: readonly ReplyBlock[]) => planWith(aGatekeeper({ agent: of }), blocks);
const call = (name: string, args: ToolCallBlock["arguments"]): ToolCallBlock => ({
  type: "tool_call",
  callId: newId("call"),
  name,
  arguments: args,
});
const bash = (command: string): ToolCallBlock => call("bash", { command });
const summaryOf = async (command: string): Promise<string> =>
  (await planCalls(agent, [bash(command)])).planned[0]?.summary ?? "";

test("calls are planned in their order, and what is no call is left out", async () => {
  const blocks = [
    { type: "text" as const, text: "let me see" },
    bash("npm test"),
    { type: "thinking" as const, text: "hm" },
    call("read_file", { path: "a.txt" }),
  ];

  const { made, planned } = await planCalls(agent, blocks);

  expect(made.map(({ block, answer }) => [block.name, answer?.text])).toEqual([
    ["bash", undefined],
    ["read_file", undefined],
  ]);
  expect(planned).toMatchObject([
    { name: "bash", quick: false, summary: "bash: npm test" },
    { name: "read_file", quick: true, summary: "read_file: a.txt" },
  ]);
});

test("a call of an unknown or forbidden tool is answered in words that name the tools there are", async () => {
  const few = Agent.parse({ tools: ["grep", "bash"] });
  const blocks = [call("rm_rf", {}), call("write_file", { path: "a", content: "b" }), call("toString", {})];

  const { made, planned } = await planCalls(few, blocks);

  expect(planned).toEqual([]);
  expect(made.map((each) => each.answer?.text)).toEqual([
    'There is no tool "rm_rf". The tools are: grep, bash.',
    'There is no tool "write_file". The tools are: grep, bash.',
    'There is no tool "toString". The tools are: grep, bash.',
  ]);
  const { made: none } = await planCalls(Agent.parse({ tools: [] }), [bash("ls")]);
  expect(none[0]?.answer?.text).toMatch(/The tools are: none/);
});

test.for([
  ["broken JSON", '{"command": '],
  ["no argument", {}],
  ["an argument of another type", { command: 7 }],
  ["an unknown argument", { command: "ls", shell: "zsh" }],
] as const)("a call with %s is answered, not planned", async ([, args]) => {
  const { made, planned } = await planCalls(agent, [call("bash", args as ToolCallBlock["arguments"])]);

  expect(planned).toEqual([]);
  expect(made[0]?.answer?.text).toMatch(/^The arguments of bash are /);
});

test("calls beyond the most of one reply are answered, and refused ones do not count", async () => {
  const blocks = [call("nope", {}), ...Array.from({ length: LIMITS.callsPerStep + 2 }, (_, i) => bash(`echo ${i}`))];

  const { made, planned } = await planCalls(agent, blocks);

  expect(planned).toHaveLength(LIMITS.callsPerStep);
  expect(made).toHaveLength(LIMITS.callsPerStep + 3);
  expect(made.slice(-2).map((each) => each.answer?.text)).toEqual(
    Array(2).fill(expect.stringMatching(/at most 20 calls/)),
  );
});

test.for([
  ["plain", "x".repeat(5_000)],
  ["quoted", '"\\'.repeat(3_000)],
  ["not ASCII", "ü😀\n\u0000".repeat(1_000)],
] as const)(
  "the step's answer stays within its bound for any number of calls with %s commands",
  async ([, command]) => {
    for (let number = 1; number <= LIMITS.callsPerStep; number++) {
      const { planned } = await planCalls(
        agent,
        Array.from({ length: number }, () => bash(command)),
      );
      const big = 999_999_999_999;
      const answer: StepAnswer = {
        next: "calls",
        calls: planned.map(({ callId, name, summary }) => ({ callId, name, summary })),
        usage: { inputTokens: big, outputTokens: big, cachedTokens: big, reasoningTokens: big },
        ranTools: false,
        artifacts: false,
      };

      expect(Buffer.byteLength(JSON.stringify(answer)), `${number} calls`).toBeLessThanOrEqual(
        LIMITS.activityPayloadBytesMax,
      );
      for (const { summary } of planned) expect(summary).toMatch(/^bash: /);
    }
  },
);

test.for([
  "curl -H 'Authorization: Bearer hunter2hunter2' x",
  'curl -H "authorization: Basic hunter2aHVudGVyMg==" x',
  "export OPENAI_API_KEY=hunter2",
  "AWS_SECRET_ACCESS_KEY=hunter2/abc aws s3 ls",
  "mysql --password hunter2",
  "mysql --password=hunter2",
  "PGPASSWORD='hunter2 x' psql",
  'echo {"password": "hunter2"}',
  "curl -H 'X-Api-Key: hunter2'",
  "git clone https://me:hunter2@host/x",
  "echo sk-hunter2hunter2",
  "echo sk-proj-hunter2_hunter2",
  "echo ghp_hunter2hunter2",
  "echo github_pat_hunter2hunter2",
  "echo eyJhunter2hunter2.abc.def",
  "GITHUB_TOKEN=hunter2 gh pr list",
  "echo \u00e9 token: hunter2",
])("the secret of %j is not in its summary", async (command) => {
  expect(await summaryOf(command)).not.toContain("hunter2");
  expect(await summaryOf(command)).toContain("[redacted]");
});

test.for(["npm test", "ls -la src/tokens", "cat token.txt other.txt", "git log --oneline", "pwd; ls", "rg 'a:b@c'"])(
  "the summary of %j is the command as it is",
  async (command) => {
    expect(await summaryOf(command)).toBe(`bash: ${command}`);
  },
);

test("a command of megabytes is summed up at once, whatever it is made of", async () => {
  const began = performance.now();

  for (const piece of ["token", "token ", "://", "a:b@", "bearer "]) await summaryOf(piece.repeat(200_000));

  expect(performance.now() - began).toBeLessThan(10_000);
});
