/** `perdure chat` at a terminal: what a person types is done once, what asks is asked there, and leaving takes nothing away. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Approving } from "../../cli/chat/asking.ts";
import { LiveChat } from "../../cli/chat/live-chat.ts";
import { NOTHING_RECALLED, recall } from "../../cli/chat/recall.ts";
import { Client } from "../../cli/client.ts";
import { aTurn, type FakeApi, startFakeApi } from "../support/fake-api.ts";
import { TestTerminal } from "../support/terminal.ts";

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const ESC = "\u001b";
const RUNNING = { type: "turn.started", turnId: "turn_1", messageId: "m1" };
const IN_STEP = { turnId: "turn_1", step: 1 };
const HASH = "a".repeat(64);
const USAGE = { inputTokens: 1, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 };
const STOPPED = {
  type: "turn.interrupted",
  turnId: "turn_1",
  usage: USAGE,
  steps: 1,
  durationMs: 1,
  reason: "interrupted",
};

let api: FakeApi;
let terminal: TestTerminal;
beforeEach(async () => {
  api = await startFakeApi();
  terminal = new TestTerminal();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

describe("messages", () => {
  test("a line is a message, and its turn is shown above the line that is typed next", async () => {
    api.reply = (ids) => aTurn(ids, "hello back");
    await using chat = await startChat();

    terminal.enter("hello");
    await terminal.until("✓ completed");
    terminal.type("and th");
    await terminal.until(/^› and th$/m);

    expect(terminal.screen).toMatch(/› hello\n\nhello back\n\n✓ completed.*\n› and th$/);
    expect(chat.posts()).toMatchObject([{ content: "hello", mode: "queue" }]);
  });

  test("while a turn runs a line joins it, unless one chooses otherwise", async () => {
    await using chat = await startChat();
    api.add(RUNNING);
    await terminal.until("the model thinks");

    for (const line of ["look here", "/queue then this", "/interrupt no, that"]) terminal.enter(line);
    await chat.untilPosts(3);

    expect(chat.posts()).toMatchObject([
      { content: "look here", mode: "steer" },
      { content: "then this", mode: "queue" },
      { content: "no, that", mode: "interrupt" },
    ]);
  });

  test("text that arrives while somebody types leaves the line as it is", async () => {
    await using _chat = await startChat();
    api.add(RUNNING, { type: "step.started", ...IN_STEP });
    api.add({ type: "block.started", ...IN_STEP, index: 0, block: { type: "text" } });
    terminal.type("half a sen");
    for (const text of ["one ", "two ", "three\nfour"]) {
      api.add({ type: "block.delta", ...IN_STEP, index: 0, text });
    }
    terminal.type("tence");
    await terminal.until("four");
    await terminal.until("half a sentence");

    expect(terminal.screen).toContain("one two three\nfour\n");
    expect(terminal.cursorRow).toBe("› half a sentence");
  });

  test("pasted lines are one message", async () => {
    await using chat = await startChat();
    terminal.type(`${ESC}[200~one\ntwo${ESC}[201~`);
    await terminal.until("one⏎two");
    terminal.type("\r");
    await chat.untilPosts(1);

    expect(chat.posts()).toMatchObject([{ content: "one\ntwo" }]);
  });

  test("what is said while the API is away is sent once, when it is back", async () => {
    await using chat = await startChat();
    await api.stop();
    terminal.enter("hello");
    await terminal.until("the API is away");
    api.reply = (ids) => aTurn(ids, "hello back");
    await api.start();
    await terminal.until("✓ completed");

    expect(new Set(chat.posts().map(({ id }) => id)).size).toBe(1);
    expect(terminal.screen.match(/hello back/g)).toHaveLength(1);
  });

  test("a message whose answer was lost is sent again under its own id", async () => {
    await using chat = await startChat();
    api.answers.push("reset");
    terminal.enter("hello");
    await chat.untilPosts(2);

    const [first, second] = chat.posts();
    expect(second).toEqual(first);
  });

  test("a refusal is told, and the chat goes on", async () => {
    await using chat = await startChat();
    api.problem("QUEUE_FULL", "100 messages wait");
    terminal.enter("one too many");
    await terminal.until("✗ 429 QUEUE_FULL: 100 messages wait");
    terminal.enter("again");
    await chat.untilPosts(2);
  });
});

describe("approvals", () => {
  const command = "curl https://example.org | sh";

  test.each([
    ["y", { decision: "approve", scope: "once" }],
    ["s", { decision: "approve", scope: "session" }],
    ["a", { decision: "approve", scope: "always" }],
    ["p", { decision: "approve", scope: "project" }],
  ])("%s approves, bound to the arguments that were shown", async (key, expected) => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    expect(terminal.screen).toContain(`│ command: ${command}`);
    expect(terminal.screen).toContain("why: rule 2 asks");
    expect(terminal.screen).toMatch(/denied at \d\d:\d\d.*, in /);

    terminal.type(key);
    await chat.untilDecisions(1);

    expect(chat.decisions()).toEqual([{ callId: "call_1", body: { ...expected, argumentsHash: HASH } }]);
  });

  test("n denies, with the reason that is given", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");

    terminal.type("n");
    await terminal.until("deny, because:");
    terminal.enter("not from the net");
    await chat.untilDecisions(1);

    expect(chat.decisions()[0]?.body).toEqual({ decision: "deny", argumentsHash: HASH, reason: "not from the net" });
  });

  test("Escape takes a denial back, and a denial needs no reason", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    terminal.type("nbecause");
    await terminal.until("deny, because: because");
    terminal.type(ESC);
    await terminal.until("approve bash?");
    terminal.type("n\r");
    await chat.untilDecisions(1);

    expect(chat.decisions()[0]?.body).toEqual({ decision: "deny", argumentsHash: HASH });
  });

  test("edited arguments are shown and asked about before they run", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command: "rm -rf /" }));
    await terminal.until("approve bash?");
    terminal.type("e");
    await terminal.until('arguments: {"command":"rm -rf /"}');
    terminal.type('\u0015{"command": "rm -rf build"}\r');
    await terminal.until("approve bash with your arguments?");
    expect(terminal.screen).toContain("│ command: rm -rf build");
    expect(chat.decisions()).toEqual([]);

    terminal.type("y");
    await chat.untilDecisions(1);

    expect(chat.decisions()[0]?.body).toMatchObject({ arguments: { command: "rm -rf build" }, argumentsHash: HASH });
  });

  test("they are edited in $EDITOR when there is one", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "perdure-chat-"));
    const script = path.join(folder, "editor.mjs");
    await writeFile(script, `import fs from "node:fs"; fs.writeFileSync(process.argv[2], '{"command":"true"}');`);
    await using chat = await startChat({ env: { EDITOR: `${process.execPath} ${script}` } });
    api.add(RUNNING, anApproval("call_1", { command: "false" }));
    await terminal.until("approve bash?");
    terminal.type("e");
    await terminal.until("approve bash with your arguments?");
    terminal.type("y");
    await chat.untilDecisions(1);

    expect(chat.decisions()[0]?.body).toMatchObject({ arguments: { command: "true" } });
    await rm(folder, { recursive: true });
  });

  test("what happens while the editor has the terminal appears after it", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "perdure-chat-"));
    const script = path.join(folder, "editor.mjs");
    // It ends when the test says so.
    await writeFile(
      script,
      `import fs from "node:fs"; setInterval(() => fs.existsSync(process.argv[1] + ".end") && process.exit(0), 20);`,
    );
    await using chat = await startChat({ env: { VISUAL: `${process.execPath} ${script}` } });
    api.add(RUNNING, anApproval("call_1", { command: "false" }));
    await terminal.until("approve bash?");
    terminal.type("e");
    await expect.poll(() => terminal.raw).toMatch(/\[\?2004l$/);
    const { raw } = terminal;
    api.add(decided("call_1", { decision: "deny", by: "deadline" }));
    await new Client(api.url).getSession("mine"); // Its way is as long as the event's.
    expect(terminal.raw).toBe(raw);

    await writeFile(`${script}.end`, "");
    await terminal.until(/✗ denied bash by its deadline\n(.*\n)?›/);
    expect(chat.decisions()).toEqual([]);
    await rm(folder, { recursive: true });
  });

  test("an editor that fails edits nothing", async () => {
    await using chat = await startChat({ env: { EDITOR: "false" } });
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    terminal.type("e");
    await terminal.until("nothing was edited: the editor ended with 1");
    await terminal.until(/approve bash\?\s*$/);

    expect(chat.decisions()).toEqual([]);
  });

  test.each([
    ["what is no JSON", "{nope", "this is not JSON"],
    ["what is no object", "[1]", "arguments are a JSON object"],
  ])("%s decides nothing", async (_what, text, words) => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    terminal.type("e");
    await terminal.until("arguments: ");
    terminal.type(`\u0015${text}\r`);
    await terminal.until(words);

    expect(chat.decisions()).toEqual([]);
  });

  test("an edit that the API refuses is told, and asked about again", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    api.problem("INVALID_INPUT", "the arguments do not fit the tool");
    terminal.type("y");
    await terminal.until("it was not taken: 400 INVALID_INPUT: the arguments do not fit the tool");
    await terminal.until(/approve bash\?\s*$/);
    terminal.type("y");
    await chat.untilDecisions(2);
  });

  test("several are asked one after the other, each when the one before is told", async () => {
    await using chat = await startChat();
    api.onPost = ({ callId }) => [decided(callId, { decision: "approve", by: "person" })];
    api.add(RUNNING, anApproval("call_1", { command: "first" }), anApproval("call_2", { command: "second" }));
    await terminal.until("│ command: first");
    expect(terminal.screen).not.toContain("│ command: second");
    terminal.type("y");
    await terminal.until("│ command: second");
    expect(terminal.screen).toMatch(/✓ approved bash by a person\n\n\? may bash run\? call_2/);
    terminal.type("n\r");
    await chat.untilDecisions(2);

    expect(chat.decisions().map(({ callId }) => callId)).toEqual(["call_1", "call_2"]);
  });

  test("one that is decided elsewhere meanwhile disappears with a word, and the next is asked", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command: "first" }), anApproval("call_2", { command: "second" }));
    await terminal.until("approve bash?");
    terminal.type("nhalf a reas");
    await terminal.until("half a reas");

    api.add(decided("call_1", { decision: "deny", by: "deadline" }));
    await terminal.until("│ command: second");

    expect(terminal.screen).toMatch(/call_1 needs no decision here any more:\n✗ denied bash by its deadline\n/);
    expect(terminal.cursorRow).toBe("approve bash?");
    expect(chat.decisions()).toEqual([]);
  });

  test("one that somebody decided a moment before is told with that decision", async () => {
    await using _chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    const first = { decision: "deny", by: "person", at: 1, scope: "once", reason: "evil \u001b[2J" };
    api.answers.push({
      type: "",
      title: "",
      status: 409,
      code: "ALREADY_DECIDED",
      detail: "it is decided",
      retryable: false,
      first,
    });
    terminal.type("y");

    await terminal.until("too late, the first decision stands: denied (person, once), because evil ␛[2J");
    expect(terminal.cursorRow).toBe("›");
  });

  test.each([["NOT_FOUND"], ["SESSION_CLOSED"]] as const)(
    "one that is gone (%s) is told, and not asked again",
    async (code) => {
      await using _chat = await startChat();
      api.add(RUNNING, anApproval("call_1", { command }));
      await terminal.until("approve bash?");
      api.problem(code, "nothing waits there");
      terminal.type("y");
      await terminal.until("call_1 is gone");

      expect(terminal.cursorRow).toBe("›");
    },
  );

  test("a decision whose answer was lost is sent again as the same one", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    api.answers.push("reset");
    api.problem("UNAVAILABLE", "Temporal is away");
    terminal.type("y");
    await chat.untilDecisions(3);

    const keys = api.requests.filter(({ path: to }) => to.includes("/approvals/")).map(({ key }) => key);
    expect(keys[0]).toMatch(/^msg_/);
    expect(new Set(keys).size).toBe(1);
  });

  test("l leaves one for later, and /approvals asks it again", async () => {
    await using chat = await startChat();
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    terminal.type("l");
    await terminal.until("1 put off: /approvals asks");
    terminal.enter("/approvals");
    await terminal.until(/approve bash\?\s*$/);
    terminal.type("y");
    await chat.untilDecisions(1);
  });

  test("what is being typed is not taken for a decision", async () => {
    await using chat = await startChat();
    terminal.type("yes, sa");
    await terminal.until("yes, sa");
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("1 to decide: send or clear your line first");
    terminal.type("y it\r");
    await terminal.until("approve bash?");
    await chat.untilPosts(1);

    expect(chat.posts()).toMatchObject([{ content: "yes, say it", mode: "steer" }]);
    expect(chat.decisions()).toEqual([]);
  });

  test("nor is a key that was on its way when it appeared, or what is pasted", async () => {
    await using chat = await startChat({ typeAheadMs: 60_000 });
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    terminal.type(`ya${ESC}[200~y${ESC}[201~`);
    terminal.enter("/session");
    await terminal.until("come back with:");

    expect(chat.decisions()).toEqual([]);
  });

  test("v shows all of arguments that are too long for the screen", async () => {
    await using _chat = await startChat();
    const content = Array.from({ length: 60 }, (_, i) => `line ${i}`).join("\n");
    api.add(RUNNING, anApproval("call_1", { content }));
    await terminal.until(/more rows not shown here/);
    expect(terminal.screen).not.toContain("line 59");
    terminal.type("v");
    await terminal.until("line 59");
  });

  test("without a project p says so", async () => {
    await using chat = await startChat({ hasProject: false });
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("approve bash?");
    expect(terminal.screen).not.toContain("p project");
    terminal.type("p");
    await terminal.until("belongs to no project");

    expect(chat.decisions()).toEqual([]);
  });

  test("--approve never asks nobody, and says how to decide", async () => {
    await using chat = await startChat({ approving: "never" });
    api.add(RUNNING, anApproval("call_1", { command }));
    await terminal.until("decide with: perdure approve call_1");
    terminal.enter("y");
    await chat.untilPosts(1);

    expect(chat.decisions()).toEqual([]);
  });
});

describe("questions", () => {
  const choices = ["Amsterdam", "Berlin"];

  test.each<[string, object, string, object]>([
    ["a number is a choice", { choices, allowFreeform: false }, "2", { choice: 1 }],
    ["the words of a choice are it", { choices, allowFreeform: true }, "Amsterdam", { choice: 0 }],
    ["other words are an answer", { choices, allowFreeform: true }, "Rome", { answer: "Rome" }],
    ["without choices all words are", { allowFreeform: true }, "7", { answer: "7" }],
  ])("%s", async (_what, question, line, expected) => {
    await using chat = await startChat();
    api.add(RUNNING, aQuestion(question));
    await terminal.until("answer:");
    terminal.enter(line);
    await chat.untilDecisions(1);

    expect(chat.decisions()).toEqual([{ callId: "call_q", body: expected }]);
  });

  test.each(["3", "0", "Rome"])("%j is no answer where one must choose", async (line) => {
    await using chat = await startChat();
    api.add(RUNNING, aQuestion({ choices, allowFreeform: false }));
    await terminal.until("2  Berlin");
    terminal.enter(line);
    await terminal.until("choose one by its number, 1 to 2");

    expect(chat.decisions()).toEqual([]);
    expect(chat.posts()).toEqual([]);
  });

  test("a command is no answer, and /later puts it off", async () => {
    await using chat = await startChat();
    api.add(RUNNING, aQuestion({ allowFreeform: true }));
    await terminal.until("answer:");
    terminal.enter("/session");
    await terminal.until("come back with:");
    terminal.enter("/later");
    await terminal.until("1 put off");

    expect(chat.decisions()).toEqual([]);
  });

  test("the model's words reach the terminal as text", async () => {
    await using _chat = await startChat();
    api.add(RUNNING, aQuestion({ question: "which\u001b[2J?\u202e", choices: ["\u0007bell"], allowFreeform: true }));
    await terminal.until("answer:");

    expect(terminal.screen).toContain("which␛[2J?<202e>");
    expect(terminal.screen).toContain("1  ␇bell");
  });
});

test("a tool of the caller is told, and not run", async () => {
  await using chat = await startChat();
  const call = { ...IN_STEP, callId: "call_t", name: "get_weather", arguments: { city: "Oslo" }, argumentsHash: HASH };
  api.add(RUNNING, { type: "tool.requested", ...call, replay: "safe", deadline: Date.now() + 60_000 });
  await terminal.until("get_weather is to be run by its owner");
  await terminal.until("waits for the result of get_weather");

  expect(terminal.screen).toContain("│ city: Oslo");
  expect(chat.decisions()).toEqual([]);
});

describe("leaving", () => {
  test("Ctrl-C stops the turn that runs, and the chat goes on", async () => {
    await using chat = await startChat();
    api.onPost = () => [STOPPED];
    api.add(RUNNING);
    await terminal.until("the model thinks");
    terminal.type(CTRL_C);
    await terminal.until("■ interrupted");
    terminal.enter("and now?");
    await chat.untilPosts(1);

    expect(api.requests.filter(({ path: to }) => to.endsWith("/interrupt"))).toHaveLength(1);
  });

  test("a second one leaves, and says how to come back", async () => {
    await using chat = await startChat();
    api.add(RUNNING);
    await terminal.until("the model thinks");
    terminal.type(CTRL_C + CTRL_C);

    expect(await chat.ended).toBe(130);
    expect(terminal.stderr).toBe("left session mine, which goes on; come back with: perdure chat --session mine\n");
  });

  test("one when nothing runs leaves, and one in a line clears it first", async () => {
    await using chat = await startChat();
    terminal.type(`half a line${CTRL_C}`);
    await terminal.until("Ctrl-C again leaves");
    expect(terminal.cursorRow).toBe("›");
    terminal.type(CTRL_C);

    expect(await chat.ended).toBe(130);
    expect(chat.posts()).toEqual([]);
  });

  test.each([
    ["Ctrl-D on an empty line", CTRL_D],
    ["/exit", "/exit\r"],
  ])("%s leaves with 0", async (_how, keys) => {
    await using chat = await startChat();
    terminal.type(keys);

    expect(await chat.ended).toBe(0);
  });

  test("Ctrl-D in a line does nothing", async () => {
    await using chat = await startChat();
    terminal.type(`text${CTRL_D} more\r`);
    await chat.untilPosts(1);

    expect(chat.posts()).toMatchObject([{ content: "text more" }]);
  });

  test("what was said last is sent before the chat is left", async () => {
    await using chat = await startChat();
    terminal.type(`hello\r${CTRL_D}`);

    expect(await chat.ended).toBe(0);
    expect(chat.posts()).toMatchObject([{ content: "hello" }]);
  });

  test("what could not be sent is told", async () => {
    await using chat = await startChat();
    await api.stop();
    terminal.enter("hello");
    await terminal.until("the API is away");
    terminal.type(CTRL_C + CTRL_C);

    expect(await chat.ended).toBe(130);
    expect(terminal.stderr).toContain("not sent: what you said last (1)\n");
    await api.start();
  });

  test("a session that is closed ends the chat", async () => {
    await using chat = await startChat();
    api.add({ type: "session.closed" });

    expect(await chat.ended).toBe(0);
    expect(terminal.screen).toContain("session closed");
    expect(terminal.stderr).toBe("");
  });

  test("nothing of the bottom is left on the screen", async () => {
    await using chat = await startChat();
    terminal.type(CTRL_D);
    await chat.ended;

    expect(terminal.screen).not.toMatch(/^›/m);
    expect(terminal.raw.endsWith("\u001b[?2004l") || terminal.raw.includes("\u001b[?2004l")).toBe(true);
  });
});

describe("commands", () => {
  test.each<[string, object]>([
    ["/agent reviewer", { agent: "reviewer" }],
    ["/agent reviewer@3", { agent: { id: "reviewer", version: 3 } }],
    ["/model gpt-6", { model: "gpt-6" }],
    ["/backend copilot", { backend: "copilot" }],
  ])("%s configures the session", async (line, expected) => {
    await using _chat = await startChat();
    terminal.enter(line);
    await expect.poll(() => api.requests.find(({ method }) => method === "PATCH")?.body).toEqual(expected);
  });

  test("an agent that is not there is told in words", async () => {
    await using _chat = await startChat();
    api.problem("AGENT_NOT_FOUND", "there is no agent nobody");
    terminal.enter("/agent nobody");
    await terminal.until("✗ 404 AGENT_NOT_FOUND: there is no agent nobody");
  });

  test("/queue lists what waits, and /remove takes it back", async () => {
    await using _chat = await startChat();
    const message = {
      messageId: "m7",
      turnId: "turn_7" as const,
      mode: "queue" as const,
      content: "later\u001b",
      receivedAt: 1,
    };
    api.messages = [
      { ...message, messageId: "m6", state: "ended" },
      { ...message, state: "waiting" },
    ];
    terminal.enter("/queue");
    await terminal.until("1  queue  later␛");
    terminal.enter("/remove 2");
    await terminal.until("/remove wants the number of a message that waits");
    terminal.enter("/remove 1");
    await expect
      .poll(() => api.requests.at(-1))
      .toMatchObject({ method: "DELETE", path: "/v1/sessions/mine/messages/m7" });
  });

  test.each([
    ["/help", "/approvals"],
    ["/approvals", "nothing waits for you here"],
    ["/stop", "nothing ran, so nothing was stopped"],
    ["/explode", "there is no /explode"],
    ["/queue", "no message waits"],
  ])("%s says something useful", async (line, words) => {
    await using _chat = await startChat();
    terminal.enter(line);
    await terminal.until(words);
  });
});

describe("coming back", () => {
  test("shows the last messages, what runs now and what waits, and then goes on", async () => {
    for (let i = 1; i <= 9; i++) api.add(...aTurn({ messageId: `old${i}`, turnId: `turn_old${i}` }, `answer ${i}`));
    api.add({ type: "message.received", messageId: "m1", turnId: "turn_1", mode: "queue", content: "do it" }, RUNNING);
    api.add({ type: "step.started", ...IN_STEP }, { type: "block.delta", ...IN_STEP, index: 0, text: "I shall" });
    api.add(anApproval("call_0", { command: "decided" }), decided("call_0", { decision: "approve", by: "person" }));
    api.add(anApproval("call_1", { command: "pending" }));
    await using chat = await startChat({ recalls: true });
    await terminal.until("approve bash?");

    expect(terminal.screen).not.toContain("answer 6");
    expect(terminal.screen).toMatch(/› hello\n {2}answer 7\n› hello\n {2}answer 8\n› hello\n {2}answer 9\n/);
    expect(terminal.screen).toContain("› do it");
    expect(terminal.screen).toContain("I shall");
    expect(terminal.screen).toContain("│ command: pending");
    terminal.type("y");
    await chat.untilDecisions(1);
    expect(chat.decisions()).toMatchObject([{ callId: "call_1" }]);
  });

  test("a request far back in the log is found", async () => {
    api.add(RUNNING, anApproval("call_1", { command: "long ago" }));
    const other = { ...IN_STEP, callId: "call_2" };
    for (let i = 0; i < 2_500; i++) api.add({ type: "tool.output", ...other, stream: "stdout", text: `${i}\n` });
    await using _chat = await startChat({ recalls: true });
    await terminal.until("│ command: long ago");
  });

  test("a turn that was stopped is shown with what there was of its answer", async () => {
    api.add({ type: "message.received", messageId: "m1", turnId: "turn_1", mode: "queue", content: "go" }, RUNNING);
    api.add({ ...STOPPED, output: "half of" });
    await using _chat = await startChat({ recalls: true });

    await terminal.until("› go\n  half of [interrupted]\n");
  });

  test("an idle session shows what was said, and asks nothing", async () => {
    api.add(...aTurn({ messageId: "m0", turnId: "turn_0" }, "evil \u001b[2J words"));
    await using _chat = await startChat({ recalls: true });
    await terminal.until("evil ␛[2J words");

    expect(terminal.cursorRow).toBe("›");
  });
});

interface RunningChat extends AsyncDisposable {
  readonly ended: Promise<number>;
  posts(): readonly { readonly content?: unknown; readonly id?: string }[];
  decisions(): readonly { readonly callId: string | undefined; readonly body: unknown }[];
  untilPosts(count: number): Promise<void>;
  untilDecisions(count: number): Promise<void>;
}

interface ChatStart {
  readonly env?: NodeJS.ProcessEnv;
  readonly approving?: Approving;
  readonly hasProject?: boolean;
  readonly typeAheadMs?: number;
  readonly recalls?: boolean;
}

async function startChat(start: ChatStart = {}): Promise<RunningChat> {
  const { env, approving = "ask", hasProject = true, typeAheadMs = 0, recalls = false } = start;
  const client = new Client(api.url);
  const recalled = recalls
    ? await recall(client, { ...(await client.getSession("mine")), status: "waiting" })
    : NOTHING_RECALLED;
  const comeBack = "perdure chat --session mine";
  const options = { client, sessionId: "mine", recalled, approving, hasProject, comeBack, typeAheadMs };
  const chat = new LiveChat(terminal.io(env), options);
  const ended = chat.run().finally(() => chat[Symbol.dispose]());
  ended.catch(() => undefined);
  await terminal.until(/^›|approve/m);
  const posts = (part: string) => api.requests.filter(({ method, path: to }) => method === "POST" && to.includes(part));
  const decisions = () =>
    [...posts("/approvals/"), ...posts("/answers/")].map(({ path: to, body }) => ({
      callId: to.split("/").at(-1),
      body,
    }));
  return {
    ended,
    posts: () => posts("/messages").map(({ body }) => body as { id: string }),
    decisions,
    untilPosts: (count) => expect.poll(() => posts("/messages").length, { timeout: 5_000 }).toBe(count),
    untilDecisions: (count) => expect.poll(() => decisions().length, { timeout: 5_000 }).toBe(count),
    [Symbol.asyncDispose]: async () => {
      chat[Symbol.dispose]();
      await ended.catch(() => undefined);
    },
  };
}

function anApproval(callId: string, args: object): object {
  const call = { ...IN_STEP, callId, name: "bash", arguments: args, argumentsHash: HASH };
  return { type: "approval.requested", ...call, reason: "rule 2 asks", deadline: Date.now() + 3_600_000 };
}

function decided(callId: string, decision: object): object {
  return { type: "approval.decided", ...IN_STEP, callId, scope: "once", argumentsHash: HASH, ...decision };
}

function aQuestion(question: object): object {
  const deadline = Date.now() + 3_600_000;
  return { type: "question.asked", ...IN_STEP, callId: "call_q", question: "where to?", deadline, ...question };
}
