/** A caller's command over its attempts: started once, followed to its end by whichever comes last, ended once. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { ActivityCancellationDetails } from "@temporalio/common";
import type { MockActivityEnvironment } from "@temporalio/testing";
import { expect, test } from "vitest";
import { createGiveUpCommand, createRunCallerCommand } from "../../activities/caller-command.ts";
import { openSandbox } from "../../activities/session-sandbox.ts";
import type { AgentInput } from "../../contract/agents.ts";
import { type Command, PostCommand } from "../../contract/commands.ts";
import type { CallId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { beginCommand, getCommand, makeCommand, publishCommandOutput, stopCommand } from "../../store/commands.ts";
import { typesOf } from "../store/store-builder.ts";
import { factsOf } from "../store/waits-builder.ts";
import { until } from "../support/api-world.ts";
import { type ActivityWorld, anActivityWorld, anAttempt } from "./activity-builder.ts";

interface Made extends ActivityWorld {
  readonly callId: CallId;
  /** A folder outside of the workspace, where effects are counted. */
  readonly effects: string;
}

async function aCommand(
  command: string | ((effects: string) => string),
  of: { readonly agent?: AgentInput } & Partial<PostCommand> = {},
): Promise<Made> {
  const { agent, ...rest } = of;
  const world = await anActivityWorld(agent ? { agent } : {});
  const effects = path.join(world.store.folder, "effects");
  const callId: CallId = "call_command";
  const line = typeof command === "string" ? command : command(effects);
  const request = PostCommand.parse({ command: line, ...rest });
  await makeCommand(world.database, { sessionId: world.sessionId, callId }, request);
  return { ...world, callId, effects };
}

const run = (made: Made, attempt = anAttempt(), stop = false): Promise<void> =>
  attempt.run(createRunCallerCommand(made.deps), {
    sessionId: made.sessionId,
    callId: made.callId,
    ...(stop && { stop }),
  });
const rowOf = ({ database, sessionId, callId }: Made): Promise<Command> => getCommand(database, { sessionId, callId });
const printedOf = async ({ database, sessionId, callId }: Made, stream = "stdout"): Promise<string> =>
  (await factsOf(database, sessionId, callId))
    .map((event) => (event.type === "command.output" && event.stream === stream ? event.text : ""))
    .join("");
const goDown = (attempt: MockActivityEnvironment): void =>
  attempt.cancel("WORKER_SHUTDOWN", new ActivityCancellationDetails({ workerShutdown: true }));
const lineFor = (seconds: number) => (effects: string) =>
  `echo begun >> ${effects}; for i in 1 2 3; do echo line $i; sleep ${seconds / 3}; done; echo ended >> ${effects}`;

test("runs once, tells of it, and every repeat finds its end", async () => {
  await using made = await aCommand('echo "$A $B $C"; cat; echo odd >&2; exit 4', {
    agent: { environment: { A: "agent", B: "agent", C: "agent" }, sandbox: { environment: { A: "sandbox" } } },
    env: { B: "caller" },
    input: "given\n",
  });

  await run(made);
  await run(made);

  expect(await rowOf(made)).toMatchObject({
    state: "done",
    outcome: "error",
    exitCode: 4,
    result: "agent caller agent\ngiven\n[stderr]\nodd\n[exit code 4]",
  });
  const types = (await typesOf(made.database, made.sessionId)).filter((type) => type.startsWith("command."));
  const pieces = types.slice(1, -1);
  expect([types[0], types.at(-1)]).toEqual(["command.started", "command.completed"]);
  // In how many pieces output comes is a matter of time; what it says is not.
  expect(pieces).toEqual(pieces.map(() => "command.output"));
  expect([await printedOf(made), await printedOf(made, "stderr")]).toEqual(["agent caller agent\ngiven\n", "odd\n"]);
});

test("is left to the next attempt when its worker goes down, and nothing of its output is lost or doubled", async () => {
  await using made = await aCommand(lineFor(0.6));
  const first = anAttempt();
  const cut = run(made, first);
  cut.catch(() => undefined);
  await until(async () => (await printedOf(made)).includes("line 1"));

  goDown(first);
  await expect(cut).rejects.toThrow("this worker goes down");
  expect(await rowOf(made)).toMatchObject({ state: "running", outcome: null });
  await run(made);

  expect(await printedOf(made)).toBe("line 1\nline 2\nline 3\n");
  expect(readFileSync(made.effects, "utf8")).toBe("begun\nended\n");
  expect(await rowOf(made)).toMatchObject({ outcome: "ok", exitCode: 0 });
});

test("is taken over by a newer attempt, and the older one writes nothing more", async () => {
  await using made = await aCommand(lineFor(0.3));
  const { database, sessionId, callId } = made;
  const older = await beginCommand(database, { sessionId, callId }, undefined);
  if (older.state !== "begun") throw new Error("it has ended");

  await run(made);

  const late = { facts: [], upTo: { stdout: 1, stderr: 0 } };
  await expect(publishCommandOutput(database, older, late)).rejects.toThrow(/taken over/);
  expect(readFileSync(made.effects, "utf8")).toBe("begun\nended\n");
});

test("is ended with all that it has started when it is stopped", async () => {
  await using made = await aCommand("echo here; sleep 60 & sleep 60");
  const attempt = anAttempt();
  const running = run(made, attempt);
  await until(async () => (await printedOf(made)).includes("here"));

  await stopCommand(made.database, made);
  attempt.cancel("CANCELLED", new ActivityCancellationDetails({ cancelRequested: true }));
  await running;

  expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "interrupted", exitCode: null });
  expect((await rowOf(made)).result).toContain("here\n[interrupted");
});

test("is ended by the attempt after a lost one when it was stopped meanwhile", async () => {
  await using made = await aCommand((effects) => `echo begun >> ${effects}; sleep 60; echo ended >> ${effects}`);
  const first = anAttempt();
  const cut = run(made, first);
  cut.catch(() => undefined);
  await until(() => existsSync(made.effects));
  goDown(first);
  await cut.catch(() => undefined);

  await stopCommand(made.database, made);
  await run(made);

  expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "interrupted" });
  expect(readFileSync(made.effects, "utf8")).toBe("begun\n");
});

test("is not begun at all when its first attempt is one that stops it", async () => {
  await using made = await aCommand((effects) => `echo begun >> ${effects}`);

  await run(made, anAttempt(), true);

  expect(await rowOf(made)).toMatchObject({ outcome: "interrupted", result: "It was stopped before it was run." });
  expect(existsSync(made.effects)).toBe(false);
});

test("whose sandbox is lost in the middle has an unknown outcome, and does not run in the next one", async () => {
  await using made = await aCommand(lineFor(30));
  const first = anAttempt();
  const cut = run(made, first);
  cut.catch(() => undefined);
  await until(async () => (await printedOf(made)).includes("line 1"));
  goDown(first);
  await cut.catch(() => undefined);
  const sandbox = await openSandbox(made.deps, made.sessionId);
  await made.deps.sandboxes.provider("local").remove(sandbox.id);

  await run(made);

  expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "unknown", exitCode: null });
  expect((await rowOf(made)).result).toContain("was not run again");
  expect(readFileSync(made.effects, "utf8")).toBe("begun\n");
  const types = await typesOf(made.database, made.sessionId);
  expect(types.indexOf("sandbox.replaced")).toBeLessThan(types.indexOf("command.completed"));
});

test("that loses its sandbox while it is followed tells of the loss before its end", async () => {
  await using made = await aCommand("echo begun; sleep 30");
  const running = run(made);
  await until(async () => (await printedOf(made)).includes("begun"));
  await using sandbox = await openSandbox(made.deps, made.sessionId);
  await made.deps.sandboxes.provider("local").remove(sandbox.id);

  await running;

  expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "unknown" });
  const types = await typesOf(made.database, made.sessionId);
  expect(types.slice(types.indexOf("sandbox.lost"))).toEqual([
    ...["sandbox.lost", "sandbox.starting", "sandbox.ready", "sandbox.replaced", "command.completed"],
  ]);
});

test("that no attempt could end is given up, and one that has ended stays as it ended", async () => {
  await using made = await aCommand("echo done");
  const giveUp = ({ sessionId, callId }: Made) =>
    anAttempt().run(createGiveUpCommand(made.deps), { sessionId, callId });
  await run(made);
  await giveUp(made);
  expect(await rowOf(made)).toMatchObject({ outcome: "ok", result: "done" });

  const other: Made = { ...made, callId: "call_other" };
  await makeCommand(made.database, other, PostCommand.parse({ command: "true" }));
  await giveUp(other);

  expect(await rowOf(other)).toMatchObject({ state: "done", outcome: "unknown", exitCode: null });
});

test.each([
  ["a folder that is not there", { cwd: "nowhere" }, /nowhere/],
  ["a folder outside", { cwd: "/etc" }, /etc/],
])("in %s is an error in words", async (_name, more, words) => {
  await using made = await aCommand("true", more);

  await run(made);

  expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "error", result: expect.stringMatching(words) });
});

test("that runs too long is ended, and says so", async () => {
  await using made = await aCommand("echo begun; sleep 60", { timeoutMs: 200 });

  await run(made);

  expect(await rowOf(made)).toMatchObject({ outcome: "error", exitCode: null });
  expect((await rowOf(made)).result).toContain("timed out after 200 ms");
});

test("that prints much has its beginning in events, and head and tail in its result", async () => {
  await using made = await aCommand("seq 1 200000");

  await run(made);

  const printed = await printedOf(made);
  expect(printed.length).toBeLessThan(LIMITS.outputEventsBytesMax + 1_000);
  expect(printed).toContain("what comes after");
  const { result } = await rowOf(made);
  expect(Buffer.byteLength(result ?? "")).toBeLessThanOrEqual(LIMITS.toolResultBytes);
  expect(result).toMatch(/^1\n2\n.*bytes are left out here.*199999\n200000$/s);
});

test("tells of the files that it has changed before its end", async () => {
  await using made = await aCommand("echo x > made.txt");

  await run(made);

  const events = await factsOf(made.database, made.sessionId, made.callId);
  expect(events.map((event) => event.type)).toEqual(["command.started", "file.changed", "command.completed"]);
});
