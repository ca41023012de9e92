/** The `perdure` command as a process: what it prints where, its exit codes, Ctrl-C, and errors in words. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type CommandEnd, CommandRun } from "../support/command-run.ts";
import { aSession, aTurn, type FakeApi, startFakeApi } from "../support/fake-api.ts";

let api: FakeApi;
beforeEach(async () => {
  api = await startFakeApi();
  api.reply = (ids) => aTurn(ids, "hello back");
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const USAGE = { inputTokens: 1, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 };
const sums = { usage: USAGE, steps: 1, durationMs: 1 };

describe("run", () => {
  test("a completed turn is shown, without any colour off a terminal, and the exit code is 0", async () => {
    const { exitCode, stdout, stderr } = await perdure("run", "hello");

    expect(stdout).toBe("› hello\n\nhello back\n\n✓ completed · 1 step · 1,200 tokens in, 30 out · 5 ms\n");
    expect(stderr).toMatch(/^session ses_[a-z0-9]+\n$/);
    expect(exitCode).toBe(0);
  });

  test.each<[string, object, number]>([
    ["fails", { type: "turn.failed", ...sums, code: "AUTH_INVALID", message: "the key is wrong", retryable: false }, 1],
    ["is interrupted", { type: "turn.interrupted", ...sums, reason: "interrupted" }, 3],
  ])("a turn that %s says so, and the exit code tells it", async (_how, end, expected) => {
    api.reply = ({ messageId, turnId }) => [
      { type: "turn.started", turnId, messageId },
      { ...end, turnId },
    ];

    const { exitCode, stdout } = await perdure("run", "hello");

    expect(stdout).toMatch(/^(✗ failed: AUTH_INVALID: the key is wrong|■ interrupted)/m);
    expect(exitCode).toBe(expected);
  });

  test("a message that the session refuses is a failure", async () => {
    api.reply = ({ messageId }) => [{ type: "message.refused", messageId, message: "closing" }];

    expect(await perdure("run", "hello")).toMatchObject({ exitCode: 1 });
  });

  test("a session that is closed before the turn has ended is an interruption", async () => {
    api.reply = () => [{ type: "session.closed" }];

    expect(await perdure("run", "hello")).toMatchObject({ exitCode: 3 });
  });

  test("the end of somebody else's turn is not the end", async () => {
    api.reply = (ids) => [{ type: "turn.completed", turnId: "turn_other", ...sums, output: "" }, ...aTurn(ids, "mine")];

    expect((await perdure("run", "hello")).stdout).toContain("mine");
  });

  test("--json prints the events of the log, one on each line, and nothing else", async () => {
    api.reply = (ids) => aTurn(ids, "evil \u009b2J");

    const { exitCode, stdout, stderr } = await perdure("run", "hello", "--json");

    const lines = stdout.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(JSON.parse(lines[4] ?? "")).toMatchObject({ type: "block.delta", text: "evil \u009b2J" });
    expect(stdout).not.toContain("\u009b");
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
  });

  test("--json holds each event once, though the stream is cut", async () => {
    api.streamFaults.push({ cutAfter: 3 }, { endAfter: 2 });

    const { stdout } = await perdure("run", "hello", "--json");

    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).seq),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("a lost connection is told in a line, and the rest is shown", async () => {
    api.streamFaults.push({ cutAfter: 3 });

    const { exitCode, stdout } = await perdure("run", "hello");

    expect(stdout).toMatch(/the connection is lost \(.+\); coming back\n/);
    expect(stdout).toContain("hello back");
    expect(exitCode).toBe(0);
  });

  test("FORCE_COLOR colours what is piped", async () => {
    expect((await perdureIn({ FORCE_COLOR: "1" }, "run", "hello")).stdout).toContain("\u001b[32m✓ completed");
  });

  test.each([["-"], []])("what is piped in is the prompt (%j)", async (...args: string[]) => {
    await new CommandRun(["run", ...args, "--url", api.url], { input: "two\nlines\n" }).ended;

    expect(api.requests[0]?.body).toMatchObject({ message: { content: "two\nlines" } });
  });

  test("the options of the agent go into the session", async () => {
    api.problem("SESSION_NOT_FOUND", "there is no session mine");
    await perdure("run", "hi", "--session", "mine", "--model", "m", "--instructions", "be kind", "--title", "t");

    const post = api.requests.find(({ method }) => method === "POST");
    expect(post?.body).toMatchObject({ model: "m", agent: { instructions: "be kind" }, title: "t" });
  });

  test("a session that is there gets the message, and only what comes after it is shown", async () => {
    api.add(
      { type: "session.created", agent: "default" },
      ...aTurn({ messageId: "m0", turnId: "turn_0" }, "old words"),
    );

    const { stdout } = await perdure("run", "hello", "--session", "mine");

    expect(api.requests.map(({ method, path: place }) => `${method} ${place}`)).toEqual([
      "GET /v1/sessions/mine",
      "POST /v1/sessions/mine/messages",
      "GET /v1/sessions/mine/events?after=9",
    ]);
    expect(stdout).not.toContain("old words");
  });

  test("a session that is not there is made under the id", async () => {
    api.problem("SESSION_NOT_FOUND", "there is no session mine");

    expect(await perdure("run", "hello", "--session", "mine")).toMatchObject({ exitCode: 0 });
    expect(api.requests[1]?.body).toMatchObject({ id: "mine" });
  });

  test("a stored agent is named by its id, also at one version, and has its own instructions", async () => {
    await perdure("run", "hello", "--agent", "reviewer@3");
    const refused = await perdure("run", "hello", "--agent", "reviewer", "--instructions", "be kind");

    expect(api.requests[0]?.body).toMatchObject({ agent: { id: "reviewer", version: 3 } });
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("leave out --agent or") });
  });

  test("the agent of a session that is there cannot be changed", async () => {
    const { exitCode, stderr } = await perdure("run", "hello", "--session", "mine", "--model", "m");

    expect(stderr).toBe("perdure: session mine exists, and its agent stays as it was made: leave out --model\n");
    expect(exitCode).toBe(2);
    expect(api.requests).toHaveLength(1);
  });

  test("--detach prints the session's id and leaves", async () => {
    const { exitCode, stdout } = await perdure("run", "hello", "--detach");

    expect(stdout).toMatch(/^ses_[a-z0-9]+\n$/);
    expect(exitCode).toBe(0);
    expect(api.streams).toHaveLength(0);
  });
});

describe("Ctrl-C", () => {
  test("leaves the session running, and says how to come back to the very event", async () => {
    api.reply = (ids) => aTurn(ids, "thinking about it").slice(0, 5);
    await using run = new CommandRun(["run", "hello", "--session", "mine", "--url", api.url]);
    await run.until("thinking about it");

    run.signal("SIGINT");

    const { exitCode, stderr } = await run.ended;
    expect(exitCode).toBe(130);
    expect(stderr).toContain(`come back with: perdure attach mine --after 5 --url ${api.url}\n`);
    expect(api.requests.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  test("with --json leaves nothing but events on the standard output", async () => {
    api.reply = (ids) => aTurn(ids, "text").slice(0, 5);
    await using run = new CommandRun(["attach", "mine", "--json", "--url", api.url]);
    api.add({ type: "session.created", agent: "default" });
    await run.until("session.created");

    run.signal("SIGINT");

    const { exitCode, stdout } = await run.ended;
    expect(JSON.parse(stdout)).toMatchObject({ seq: 1 });
    expect(exitCode).toBe(130);
  });

  test("ends an attempt to find an API that is gone, too", async () => {
    api.add({ type: "session.created", agent: "default" }, { type: "turn.started", turnId: "turn_1", messageId: "m1" });
    await using run = new CommandRun(["attach", "mine", "--url", api.url]);
    await untilStream();
    await api.stop();
    await run.until("the connection is lost");

    run.signal("SIGINT");

    expect(await run.ended).toMatchObject({ exitCode: 130, stderr: expect.stringContaining("--after 2") });
    await api.start();
  });
});

describe("attach", () => {
  test("goes on behind the event that it is given, until the session is closed", async () => {
    api.add(...aTurn({ messageId: "m1", turnId: "turn_1" }, "old words"), { type: "session.closed" });

    const { exitCode, stdout } = await perdure("attach", "mine", "--after", "8");

    expect(stdout).toBe("session closed\n");
    expect(exitCode).toBe(0);
  });

  test("a session that is not there is no session to come back to", async () => {
    api.streamFaults.push({ status: 404 });

    const { exitCode, stderr } = await perdure("attach", "mine");

    expect(stderr).toBe("perdure: 404 SESSION_NOT_FOUND: there is no such session\n");
    expect(exitCode).toBe(1);
  });

  test("a reader that closes the pipe ends it without a word", async () => {
    api.add({ type: "session.created", agent: "default" });
    await using run = new CommandRun(["attach", "mine", "--json", "--url", api.url]);
    await run.until("session.created");

    run.closeStdout();
    api.add(...aTurn({ messageId: "m1", turnId: "turn_1" }, "more"));

    expect(await run.ended).toMatchObject({ exitCode: 0, stderr: "" });
  });
});

describe("the other commands", () => {
  test("send tells when the message goes", async () => {
    const { stdout } = await perdure("send", "mine", "hello", "--mode", "interrupt", "--id", "m1");

    expect(stdout).toBe("message m1 turn_m1: goes now\n");
    expect(api.requests[0]?.body).toEqual({ content: "hello", mode: "interrupt", id: "m1" });
  });

  test("send --wait shows the message's own turn and nothing before it", async () => {
    api.add(...aTurn({ messageId: "m0", turnId: "turn_0" }, "old words"));

    const { exitCode, stdout } = await perdure("send", "mine", "hello", "--wait");

    expect(stdout).toContain("hello back");
    expect(stdout).not.toContain("old words");
    expect(exitCode).toBe(0);
  });

  test("sessions lists what there is, page by page, with harmless titles", async () => {
    api.sessions = Array.from({ length: 250 }, (_, i) => ({ ...aSession(`s${i}`), title: `title \u001b[31m${i}` }));

    const { stdout, stderr } = await perdure("sessions", "--limit", "220");

    expect(stdout.trimEnd().split("\n")).toHaveLength(221);
    expect(stdout).toMatch(/^s219 +idle +[\d.]+ m?s ago +title ␛\[31m219$/m);
    expect(stderr).toBe("there are more: --limit 440\n");
  });

  test("sessions --json prints sessions and nothing else, of one status when asked", async () => {
    api.sessions = [aSession("a"), { ...aSession("b"), status: "closed" }];

    const { stdout } = await perdure("sessions", "--status", "closed", "--json");

    expect(JSON.parse(stdout)).toMatchObject({ id: "b" });
  });

  test("no sessions is no error", async () => {
    expect(await perdure("sessions")).toEqual({ exitCode: 0, stdout: "", stderr: "no sessions\n" });
  });

  test.each([
    ["interrupt", "nothing ran, so nothing was stopped\n"],
    ["close", "the session is being closed\n"],
  ])("%s says what it did", async (command, words) => {
    expect(await perdure(command, "mine")).toEqual({ exitCode: 0, stdout: words, stderr: "" });
  });
});

describe("what goes wrong", () => {
  test.each<[string, readonly string[]]>([
    ["an unknown command", ["explode"]],
    ["an unknown option", ["run", "hi", "--fast"]],
    ["no command", []],
    ["too many arguments", ["run", "two", "words"]],
    ["an id that can be none", ["attach", "../x"]],
    ["a number that is none", ["attach", "x", "--after", "-1"]],
    ["an address that is none", ["sessions", "--url", "ftp://x"]],
    ["an unknown status", ["sessions", "--status", "tired"]],
    ["no prompt", ["run"]],
  ])("%s is a usage error, in words", async (_what, args) => {
    const { exitCode, stdout, stderr } = await new CommandRun(args).ended;

    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(stderr.length).toBeGreaterThan(10);
  });

  test("an environment that is not usable is told by variable", async () => {
    const { exitCode, stderr } = await new CommandRun(["sessions"], { env: { PERDURE_PORT: "many" } }).ended;

    expect(stderr).toContain("PERDURE_PORT: expected a port");
    expect(exitCode).toBe(2);
  });

  test("an API that does not run is said in one line that tells how to start it", async () => {
    await api.stop();

    const { exitCode, stderr } = await perdure("run", "hello");

    expect(stderr).toMatch(/^perdure: no Perdure API answers at .*npm start.*\n$/);
    expect(exitCode).toBe(4);
    await api.start();
  });

  test("another service at the API's address is no API that can be reached", async () => {
    api.answers.push({ status: 501, text: "<html>" });

    expect(await perdure("sessions")).toMatchObject({
      exitCode: 4,
      stderr: expect.stringContaining("is it a Perdure API?"),
    });
  });

  test("a refusal is one line with its code", async () => {
    api.problem("SESSION_CLOSED", "session mine is closed; make another one");

    expect(await perdure("send", "mine", "hello")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "perdure: 409 SESSION_CLOSED: session mine is closed; make another one\n",
    });
  });

  test("what a server says of itself reaches the terminal as text", async () => {
    api.problem("CONFLICT", "evil \u001b[2J words");

    expect((await perdure("send", "mine", "hello")).stderr).toContain("evil ␛[2J words");
  });
});

test("--version prints the package's version", async () => {
  expect((await new CommandRun(["--version"]).ended).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

function perdure(...args: readonly string[]): Promise<CommandEnd> {
  return perdureIn({}, ...args);
}

function perdureIn(env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<CommandEnd> {
  return new CommandRun([...args, "--url", api.url], { env }).ended;
}

/** Resolves when somebody has opened an event stream. */
async function untilStream(): Promise<void> {
  await expect.poll(() => api.streams.length, { timeout: 10_000, interval: 20 }).toBeGreaterThan(0);
}
