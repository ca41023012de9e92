/** What the processes of a stack wait for, how `perdure status` says it, and deaths that an outage explains. */
import { rmSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { ProcessStatus } from "../../cli/commands/status.ts";
import { EXIT } from "../../cli/exit-codes.ts";
import { LIMITS } from "../../contract/limits.ts";
import { CommandRun } from "../support/command-run.ts";
import { healthServer, StateFolder, startTestStack, until } from "./fixtures/world.ts";

const stateOf = (state: StateFolder, name: string) => state.entries().find((one) => one.name === name);

async function status(state: StateFolder) {
  await using run = new CommandRun(["status", "--json"], { env: { PERDURE_STATE_DIR: state.path } });
  const { stdout, exitCode } = await run.ended;
  const lines = stdout
    .trim()
    .split("\n")
    .filter((line) => line !== "");
  const told = lines.map((line) => JSON.parse(line) as ProcessStatus);
  return { exitCode, worker: told.find(({ name }) => name === "worker") };
}

test("deaths while Temporal is away are explained: none of them makes it give up", { timeout: 120_000 }, async () => {
  using state = new StateFolder();
  const temporal = await healthServer();
  const fire = state.file("fire");
  await using stack = await startTestStack({ state, temporal: temporal.address, worker: `dies-if:${fire}` });
  const restarts = () => stack.events.filter(({ type }) => type === "restarted").length;

  await temporal[Symbol.asyncDispose]();
  writeFileSync(fire, "");
  process.kill(state.pid("worker"), "SIGKILL");
  await until("it has died more often than it may", () => restarts() > LIMITS.deathsMax, 90_000);
  rmSync(fire);
  await until("it is well again", () => stateOf(state, "worker")?.state === "ready", 20_000);

  expect(stack.events.filter(({ type }) => type === "gave_up")).toEqual([]);
});

test("what a process waits for is in processes.json and in perdure status, for as long as it waits", {
  timeout: 60_000,
}, async () => {
  using state = new StateFolder();
  await using temporal = await healthServer();
  const reason = state.file("reason");
  await using _stack = await startTestStack({ state, temporal: temporal.address, worker: `waits-if:${reason}` });
  expect(await status(state)).toMatchObject({ exitCode: EXIT.completed, worker: { state: "ready", waitsFor: null } });

  writeFileSync(reason, "the database is locked");
  process.kill(state.pid("worker"), "SIGKILL");
  await until("it waits", () => stateOf(state, "worker")?.state === "waiting");
  const waiting = stateOf(state, "worker");
  const told = await status(state);

  expect(waiting).toMatchObject({ waitsFor: "the database is locked", since: expect.any(Number) });
  expect(told).toMatchObject({ exitCode: EXIT.failed, worker: { state: "waiting", since: waiting?.since } });
  expect(told.worker).toMatchObject({ waitsFor: "the database is locked", pid: state.pid("worker") });

  rmSync(reason);
  await until("it waits no more", () => stateOf(state, "worker")?.state === "ready");
  expect(stateOf(state, "worker")).not.toHaveProperty("waitsFor");
});

test("perdure status says that no stack runs, and which process is down", { timeout: 60_000 }, async () => {
  using state = new StateFolder();
  expect((await status(state)).exitCode).toBe(EXIT.unreachable);

  await using temporal = await healthServer();
  const fire = state.file("fire");
  await using _stack = await startTestStack({ state, temporal: temporal.address, worker: `dies-if:${fire}` });
  writeFileSync(fire, "");
  process.kill(state.pid("worker"), "SIGKILL");

  await until("it is seen dead", async () => {
    const told = await status(state);
    return told.exitCode === EXIT.failed && told.worker?.state === "down" && told.worker.pid === null;
  });
});
