/** `perdure chat` at a terminal: what a person types is done once, leaving takes nothing away, coming back shows where one was. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { aTurn, type FakeApi, startFakeApi } from "../support/fake-api.ts";
import {
  anApproval,
  type ChatStart,
  decided,
  IN_STEP,
  RUNNING,
  type RunningChat,
  startChat as startChatIn,
} from "../support/running-chat.ts";
import { TestTerminal } from "../support/terminal.ts";

const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const ESC = "\u001b";
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

function startChat(start: ChatStart = {}): Promise<RunningChat> {
  return startChatIn(api, terminal, start);
}
