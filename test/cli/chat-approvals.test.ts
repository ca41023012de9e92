/** What asks a person, at the terminal of a chat: decided by keys, in any order, once, and never by accident. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Client } from "../../cli/client.ts";
import { type FakeApi, startFakeApi } from "../support/fake-api.ts";
import {
  anApproval,
  type ChatStart,
  decided,
  HASH,
  RUNNING,
  type RunningChat,
  startChat as startChatIn,
} from "../support/running-chat.ts";
import { TestTerminal } from "../support/terminal.ts";

const ESC = "\u001b";

let api: FakeApi;
let terminal: TestTerminal;
beforeEach(async () => {
  api = await startFakeApi();
  terminal = new TestTerminal();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
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

function startChat(start: ChatStart = {}): Promise<RunningChat> {
  return startChatIn(api, terminal, start);
}
