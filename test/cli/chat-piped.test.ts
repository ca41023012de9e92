/** `perdure chat` without a terminal, as a process: lines in, turns out, and exit codes that tell what a script must know. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type CommandEnd, CommandRun } from "../support/command-run.ts";
import { aSession, aTurn, type FakeApi, startFakeApi } from "../support/fake-api.ts";

const USAGE = { inputTokens: 1, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 };
const SUMS = { usage: USAGE, steps: 1, durationMs: 1 };
const HASH = "b".repeat(64);

let api: FakeApi;
let turns: number;
beforeEach(async () => {
  api = await startFakeApi();
  turns = 0;
  api.reply = (ids) => aTurn(ids, `answer ${++turns}`);
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

test("each line is a message, sent when the turn before it has ended", async () => {
  const { exitCode, stdout, stderr } = await chat({ input: "one\n\n  \ntwo\n" });

  expect(stdout.match(/answer \d/g)).toEqual(["answer 1", "answer 2"]);
  expect(messages()).toMatchObject([{ content: "one" }, { content: "two" }]);
  expect(stderr).toMatch(/^session ses_\w+\n$/);
  expect(exitCode).toBe(0);
});

test("the message of the command line goes first", async () => {
  await chat({ input: "two" }, "one");

  expect(messages()).toMatchObject([{ content: "one" }, { content: "two" }]);
});

test("--json prints events and nothing else", async () => {
  const { stdout, stderr, exitCode } = await chat({ input: "one\ntwo\n" }, "--json");

  const events = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
});

test("of a session that is there, only what is new is shown", async () => {
  api.add(...aTurn({ messageId: "m0", turnId: "turn_0" }, "old words"));

  const { stdout } = await chat({ input: "go on" }, "--session", "mine");

  expect(stdout).not.toContain("old words");
  expect(stdout).toContain("answer 1");
});

test("what a new session is to be goes into it", async () => {
  await chat({ input: "" }, ...["--agent", "reviewer@2", "--backend", "copilot", "--model", "m", "--project", "p"]);

  const agent = { id: "reviewer", version: 2 };
  const expected = { agent, backend: "copilot", model: "m", metadata: { project: "p" } };
  expect(api.requests[0]?.body).toMatchObject(expected);
});

test("a session that is there is configured", async () => {
  await chat({ input: "" }, "--session", "mine", "--agent", "reviewer", "--model", "m");

  expect(api.requests.find(({ method }) => method === "PATCH")?.body).toEqual({ agent: "reviewer", model: "m" });
});

describe("a turn that does not complete ends it, and the lines behind it are not sent", () => {
  test.each<[string, object, number]>([
    ["fails", { type: "turn.failed", ...SUMS, code: "AUTH_REQUIRED", message: "no key", retryable: false }, 1],
    ["is interrupted", { type: "turn.interrupted", ...SUMS, reason: "interrupted" }, 3],
  ])("when it %s", async (_how, end, expected) => {
    api.reply = ({ turnId }) => [{ ...end, turnId }];

    const { exitCode, stderr } = await chat({ input: "one\ntwo\n" });

    expect(exitCode).toBe(expected);
    expect(messages()).toHaveLength(1);
    expect(stderr).toMatch(/was not sent; go on with: perdure chat --session ses_\w+ --url/);
  });

  test("when its message is refused", async () => {
    api.reply = ({ messageId }) => [{ type: "message.refused", messageId, message: "closing" }];

    expect(await chat({ input: "one\n" })).toMatchObject({ exitCode: 1 });
  });

  test("when the session is closed", async () => {
    api.reply = () => [{ type: "session.closed" }];

    expect(await chat({ input: "one\ntwo\n" })).toMatchObject({ exitCode: 3 });
  });
});

describe("what asks a person", () => {
  beforeEach(() => {
    api.reply = ({ turnId, messageId }) => [{ type: "turn.started", turnId, messageId }, anApproval(turnId)];
    api.onPost = () => [{ type: "turn.completed", turnId: `turn_${messageId()}`, ...SUMS, output: "done" }];
  });

  test("is left to others, and the exit code says that somebody is waited for", async () => {
    const { exitCode, stdout, stderr } = await chat({ input: "one\ntwo\n" });

    expect(exitCode).toBe(5);
    expect(stderr).toContain("the turn waits for an approval, call_1: perdure approve call_1 (or deny)\n");
    expect(stdout).toContain("│ command: make test");
    expect(decisions()).toEqual([]);
    expect(messages()).toHaveLength(1);
  });

  test("is approved once with --approve always, bound to its arguments", async () => {
    const { exitCode } = await chat({ input: "one\n" }, "--approve", "always");

    expect(exitCode).toBe(0);
    expect(decisions()).toEqual([{ decision: "approve", argumentsHash: HASH }]);
  });

  test("is approved again when the answer was lost, as the same decision", async () => {
    api.reply = ({ turnId, messageId }) => {
      // The decision is the next request without a stream.
      setImmediate(() => api.answers.push("reset"));
      return [{ type: "turn.started", turnId, messageId }, anApproval(turnId)];
    };

    expect(await chat({ input: "one\n" }, "--approve", "always")).toMatchObject({ exitCode: 0 });
    const keys = api.requests.filter(({ path }) => path.includes("/approvals/")).map(({ key }) => key);
    expect(keys).toHaveLength(2);
    expect(keys[1]).toBe(keys[0]);
  });

  test("a question cannot be answered by --approve always", async () => {
    api.reply = ({ turnId, messageId }) => [
      { type: "turn.started", turnId, messageId },
      { ...anApproval(turnId), type: "question.asked", question: "where to?", allowFreeform: true },
    ];

    const { exitCode, stderr } = await chat({ input: "one\n" }, "--approve", "always");

    expect(stderr).toContain("the turn waits for an answer to a question, call_1\n");
    expect(exitCode).toBe(5);
  });
});

describe("what goes wrong", () => {
  test("a session that is not there is told with what there is", async () => {
    api.problem("SESSION_NOT_FOUND", "there is no session mine");

    const { exitCode, stderr } = await chat({}, "--session", "mine");

    expect(stderr).toBe(
      "perdure: there is no session mine: `perdure sessions` lists what there is; without --session a new one is made\n",
    );
    expect(exitCode).toBe(1);
  });

  test("a session that is closed is told", async () => {
    api.answers.push({ status: 200, text: JSON.stringify({ ...aSession("mine"), status: "closed", progress: null }) });

    expect(await chat({}, "--session", "mine")).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("is closed"),
    });
  });

  test.each([
    ["AGENT_NOT_FOUND", "there is no agent nobody", ["--agent", "nobody"]],
    ["INVALID_INPUT", "there is no backend nothing", ["--backend", "nothing"]],
  ] as const)("what a session cannot be made of is told (%s)", async (code, words, args) => {
    api.problem(code, words);

    const { exitCode, stderr } = await chat({ input: "hello\n" }, ...args);

    expect(stderr).toMatch(new RegExp(`^perdure: 40\\d ${code}: ${words}\\n$`));
    expect(exitCode).toBe(1);
    expect(messages()).toEqual([]);
  });

  test.each<[string, readonly string[]]>([
    ["--approve ask without a terminal", ["--approve", "ask"]],
    ["--project for a session that is there", ["--session", "mine", "--project", "p"]],
    ["an empty message", [" "]],
    ["an unknown way to approve", ["--approve", "sometimes"]],
  ])("%s is a usage error, in words", async (_what, args) => {
    const { exitCode, stderr } = await chat({}, ...args);

    expect(exitCode).toBe(2);
    expect(stderr.length).toBeGreaterThan(20);
  });

  test("an API that does not run is said in one line", async () => {
    await api.stop();

    expect(await chat({ input: "hello\n" })).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining("npm start"),
    });
    await api.start();
  });

  test("an API that is restarted meanwhile is waited for, and nothing is said twice", async () => {
    api.reply = (ids) => aTurn(ids, "the answer").slice(0, 5);
    await using run = new CommandRun(["chat", "--url", api.url], { input: "one\n" });
    await run.until("the answer");
    await api.stop();
    await run.until("the answer");
    await api.start();
    api.add(...aTurn({ messageId: messageId(), turnId: `turn_${messageId()}` }, "").slice(5));

    const { exitCode, stdout } = await run.ended;
    expect(exitCode).toBe(0);
    expect(stdout.match(/the answer/g)).toHaveLength(1);
    expect(messages()).toHaveLength(1);
  });

  test("Ctrl-C leaves the session, which goes on", async () => {
    api.reply = (ids) => aTurn(ids, "the answer").slice(0, 5);
    await using run = new CommandRun(["chat", "--url", api.url], { input: "one\ntwo\n" });
    await run.until("the answer");
    run.signal("SIGINT");

    expect(await run.ended).toMatchObject({
      exitCode: 130,
      stderr: expect.stringContaining("go on with: perdure chat"),
    });
    expect(messages()).toHaveLength(1);
  });
});

function chat(options: { readonly input?: string }, ...args: readonly string[]): Promise<CommandEnd> {
  return new CommandRun(["chat", ...args, "--url", api.url], options).ended;
}

function posted(part: string): readonly unknown[] {
  return api.requests.filter(({ method, path }) => method === "POST" && path.includes(part)).map(({ body }) => body);
}

const messages = (): readonly unknown[] => posted("/messages");
const decisions = (): readonly unknown[] => posted("/approvals/");
const messageId = (): string => (messages()[0] as { id: string }).id;

function anApproval(turnId: string): object {
  const call = {
    turnId,
    step: 1,
    callId: "call_1",
    name: "bash",
    arguments: { command: "make test" },
    argumentsHash: HASH,
  };
  return { type: "approval.requested", ...call, reason: "it changes the world", deadline: Date.now() + 60_000 };
}
