/** Deciding from the command line, over the real API: the inbox, the call that is meant, and what stands when it is too late. */
import { describe, expect, test } from "vitest";
import { answerQuestion } from "../../store/answers.ts";
import { decideApproval } from "../../store/approvals.ts";
import { listGrants } from "../../store/grants.ts";
import type { WaitRequest } from "../../store/waits.ts";
import { approval, aWaitingTurn, callOf, decide, question, type Wanted } from "../store/waits-builder.ts";
import { ApiWorld } from "../support/api-world.ts";
import { CommandRun } from "../support/command-run.ts";

/** An API with one session, in which a call waits for each of these requests. */
async function aWaitingSession(requests: readonly WaitRequest[] = [approval()], wanted: Wanted = {}) {
  const world = await ApiWorld.start();
  const turn = await aWaitingTurn(world.store.database, requests, wanted);
  const [callId = "call_none", second = "call_none"] = turn.calls;
  const run = (...args: string[]) => new CommandRun([...args, "--url", world.url]).ended;
  return { ...turn, world, callId, second, run, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const rowOf = async ({ world, sessionId, callId }: Awaited<ReturnType<typeof aWaitingSession>>) =>
  (await callOf(world.store.database, sessionId, callId)).row;

describe("perdure approvals", () => {
  test("lists what waits, with why", async () => {
    await using waiting = await aWaitingSession([approval()], { agent: { name: "cleaner" } });

    const { stdout, exitCode } = await waiting.run("approvals");

    const [heading, line] = stdout.split("\n");
    expect(heading).toMatch(/^CALL +ASKED +SESSION +AGENT +TOOL +ARGUMENTS$/);
    expect(line).toMatch(
      new RegExp(
        `^${waiting.callId} +.+ ago +${waiting.sessionId} +cleaner +bash +rm -r build  \\(bash changes the world\\)$`,
      ),
    );
    expect(exitCode).toBe(0);
  });

  test("--json prints each as the API has it, and with --all also what is decided", async () => {
    await using waiting = await aWaitingSession([approval(), approval()]);
    await waiting.run("deny", waiting.callId);

    const pending = await waiting.run("approvals", "--json");
    const all = await waiting.run("approvals", "--json", "--all", "--session", waiting.sessionId);

    expect(JSON.parse(pending.stdout)).toMatchObject({ callId: waiting.second, state: "pending" });
    expect(all.stdout.trim().split("\n")).toHaveLength(2);
  });

  test("shows one call with all its arguments, line by line, and nothing that a terminal acts on", async () => {
    await using waiting = await aWaitingSession();
    await waiting.world.store.database.write((tx) =>
      tx
        .updateTable("waits")
        .set({ arguments: JSON.stringify({ command: `echo ${"a".repeat(300)}\nrm -r /\u001b[2K` }) })
        .execute(),
    );

    const { stdout } = await waiting.run("approvals", waiting.callId);

    expect(stdout.replaceAll("\n", "")).toContain("a".repeat(300));
    expect(stdout).toContain("rm -r /␛[2K");
    expect(stdout).toMatch(/asked .+ ago; denied in 59 min .+ when nobody decides/);
  });

  test("says so when nothing waits", async () => {
    await using waiting = await aWaitingSession([]);

    expect(await waiting.run("approvals")).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "nothing waits for an approval\n",
    });
  });
});

describe("perdure approve", () => {
  test.each<[string, (of: { callId: string; sessionId: string }) => string[]]>([
    ["its whole id", ({ callId }) => [callId]],
    ["its session and a beginning of it", ({ callId, sessionId }) => [callId.slice(0, 20), "--session", sessionId]],
    ["a beginning without call_", ({ callId }) => [callId.slice("call_".length, 20)]],
  ])("finds the call by %s", async (_how, args) => {
    await using waiting = await aWaitingSession();

    const { stdout, exitCode } = await waiting.run("approve", ...args(waiting));

    expect(stdout).toBe(`approved ${waiting.callId} of session ${waiting.sessionId}: bash rm -r build\n`);
    expect(exitCode).toBe(0);
    expect(await rowOf(waiting)).toMatchObject({ state: "planned" });
  });

  test("with other arguments runs it with those", async () => {
    await using waiting = await aWaitingSession();

    const { stdout } = await waiting.run("approve", waiting.callId, "--arguments", '{"command": "ls"}');

    expect(stdout).toContain("bash ls");
    expect(await rowOf(waiting)).toMatchObject({ arguments: '{"command":"ls"}', edited: 1 });
  });

  test("remembers what it is told to, and says how to take that back", async () => {
    await using waiting = await aWaitingSession();
    const { database } = waiting.world.store;

    const { stdout } = await waiting.run("approve", waiting.callId, "--scope", "always", "--match", "command=rm *");
    const [, grantId = ""] = /perdure revoke (\S+) /.exec(stdout) ?? [];
    const listed = await waiting.run("grants");
    const revoked = await waiting.run("revoke", grantId);

    expect(stdout).toContain("remembered everywhere");
    expect(listed.stdout).toMatch(new RegExp(`${grantId} +.+ ago +allow +bash +everywhere +command=rm \\*`));
    expect(revoked).toMatchObject({ exitCode: 0, stdout: `${grantId} counts no more\n` });
    expect(await listGrants(database, { revoked: false, limit: 9 })).toEqual([]);
  });

  test("is told the first decision when it is too late", async () => {
    await using waiting = await aWaitingSession();
    await waiting.run("deny", waiting.callId, "--reason", "not on a Friday");

    const { exitCode, stderr, stdout } = await waiting.run("approve", waiting.callId);

    expect(stderr).toMatch(
      /^perdure: too late, and nothing is changed: it was denied by a person .+ ago: not on a Friday\n$/,
    );
    expect([exitCode, stdout]).toEqual([1, ""]);
  });

  test.each<[string, string[], number, RegExp]>([
    ["a call that is nowhere", ["call_gone"], 1, /no call call_gone waits for an approval: `perdure approvals`/],
    ["a beginning of several", ["call_"], 2, /call_ may be call_.+ of ses_.+, call_.+: say more of its id/],
    ["arguments that are no JSON", ["x", "--arguments", "ls"], 2, /Expected a JSON object/],
    ["arguments that are no object", ["x", "--arguments", "[]"], 2, /Expected a JSON object such as/],
    ["a scope that is none", ["x", "--scope", "ever"], 2, /Allowed choices are once, session, project, always/],
    ["a pattern without a name", ["x", "--scope", "always", "--match", "rm"], 2, /Expected an argument's name/],
  ])("refuses %s", async (_what, args, expected, words) => {
    await using waiting = await aWaitingSession([approval(), approval()]);

    const { exitCode, stderr } = await waiting.run("approve", ...args);

    expect(stderr).toMatch(words);
    expect(exitCode).toBe(expected);
  });

  test("says in words what the API refuses", async () => {
    await using waiting = await aWaitingSession();

    const { exitCode, stderr } = await waiting.run("approve", waiting.callId, "--arguments", '{"command": 1}');

    expect(stderr).toMatch(/^perdure: 400 INVALID_INPUT: \/arguments\/command: must be string/);
    expect(exitCode).toBe(1);
  });
});

test("perdure deny tells the agent why", async () => {
  await using waiting = await aWaitingSession();

  await waiting.run("deny", waiting.callId, "--reason", "it is needed");

  const { results } = await callOf(waiting.world.store.database, waiting.sessionId, waiting.callId);
  expect(results).toMatchObject([{ outcome: "denied", text: expect.stringContaining("it is needed") }]);
});

describe("perdure answer", () => {
  const asked = [question({ choices: ["red", "green"] })];

  /** The workflow says what waits; here the test does. */
  async function aQuestion() {
    const waiting = await aWaitingSession(asked);
    const wait = { kind: "question" as const, callId: waiting.callId, name: "ask_user", deadline: Date.now() };
    waiting.world.sessions.snapshot = { ...waiting.world.sessions.snapshot, waits: [wait] };
    return waiting;
  }

  test.each([
    ["a text", ["blue"], "blue"],
    ["a choice as it is numbered on the screen", ["--choice", "2"], "green"],
  ])("gives %s to the question that is meant", async (_what, args, text) => {
    await using waiting = await aQuestion();

    const { stdout, exitCode } = await waiting.run("answer", waiting.callId.slice(0, 22), ...args);

    expect(stdout).toBe(`answered ${waiting.callId} of session ${waiting.sessionId}: ${text}\n`);
    expect(exitCode).toBe(0);
  });

  test("is told the first answer when it is too late", async () => {
    await using waiting = await aQuestion();
    const { callId, sessionId, world } = waiting;
    await answerQuestion(world.store.database, { callId, sessionId, body: { answer: "red" } });

    const { exitCode, stderr } = await waiting.run("answer", callId, "blue", "--session", sessionId);

    expect(stderr).toMatch(/too late, and nothing is changed: it was answered "red" by a person .+ ago\n$/);
    expect(exitCode).toBe(1);
  });

  test.each([[[]], [["red", "--choice", "1"]]])("wants one answer, not %j", async (args) => {
    await using waiting = await aQuestion();

    expect(await waiting.run("answer", waiting.callId, ...args)).toMatchObject({
      exitCode: 2,
      stderr: "perdure: expected either an answer, or --choice <n>\n",
    });
  });

  test("says which choices there are, numbered as it takes them", async () => {
    await using waiting = await aQuestion();

    const { exitCode, stderr } = await waiting.run("answer", waiting.callId, "--choice", "3");

    expect(stderr).toContain('expected one of the choices: 1 "red", 2 "green"\n');
    expect(exitCode).toBe(1);
  });

  test("says when no question is meant", async () => {
    await using waiting = await aWaitingSession();

    expect(await waiting.run("answer", "call_gone", "red")).toMatchObject({ exitCode: 1 });
  });
});

test("perdure revoke says when there is no such grant", async () => {
  await using waiting = await aWaitingSession([]);

  expect(await waiting.run("revoke", "grant_none")).toMatchObject({ exitCode: 1 });
  expect(await waiting.run("revoke", "none")).toMatchObject({ exitCode: 2 });
});

test("perdure approvals --all says how each was decided", async () => {
  await using waiting = await aWaitingSession();
  const { callId, sessionId, world } = waiting;
  await decideApproval(world.store.database, { callId, sessionId, body: decide("approve") });

  expect((await waiting.run("approvals", "--all")).stdout).toMatch(/\(approved by a person .+ ago\)/);
});
