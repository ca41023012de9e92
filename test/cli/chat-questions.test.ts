/** Questions of the model, and tools that the caller runs, at the terminal of a chat. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FakeApi, startFakeApi } from "../support/fake-api.ts";
import {
  aQuestion,
  type ChatStart,
  HASH,
  IN_STEP,
  RUNNING,
  type RunningChat,
  startChat as startChatIn,
} from "../support/running-chat.ts";
import { TestTerminal } from "../support/terminal.ts";

let api: FakeApi;
let terminal: TestTerminal;
beforeEach(async () => {
  api = await startFakeApi();
  terminal = new TestTerminal();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
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

    expect(terminal.screen).toContain("which␛[2J?<U+202E>");
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

function startChat(start: ChatStart = {}): Promise<RunningChat> {
  return startChatIn(api, terminal, start);
}
