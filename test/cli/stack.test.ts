/** The supervisor with stand-ins for worker, api and Temporal: starting, restarting, giving up, refusing, taking over, stopping. */
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { healthServer, isRunning, StateFolder, startSupervisor, startTestStack, until } from "./fixtures/world.ts";

// Beside each other: they mostly wait, and each has a state directory and ports of its own.
describe.concurrent("the stack", () => {
  test("processes.json names exactly the living processes, and each of them works", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using stack = await startTestStack({ state, temporal: temporal.address });

    expect(state.entries()).toEqual(stack.processes());
    expect(state.entries().map(({ name, restarts }) => [name, restarts])).toEqual([
      ["worker", 0],
      ["api", 0],
    ]);
    expect(Number(await (await fetch(stack.apiUrl)).text())).toBe(state.pid("api"));
    expect([stack.temporalAddress, stack.uiUrl]).toEqual([temporal.address, undefined]);
  });

  test("a killed worker is started again at once, and nothing else is", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using stack = await startTestStack({ state, temporal: temporal.address });
    const [worker, api] = [state.pid("worker"), state.pid("api")];

    process.kill(worker, "SIGKILL");
    const restart = await until("it is started again", () => stack.events.find(({ type }) => type === "restarted"));

    expect(restart).toMatchObject({ name: "worker", oldPid: worker, how: "died by SIGKILL", pid: state.pid("worker") });
    // The first restart has no pause; what starting a program takes is up to the machine.
    expect(restart.type === "restarted" && restart.afterMs).toBeLessThan(LIMITS.restartBackoffMs.max);
    expect(state.entries().find(({ name }) => name === "worker")).toMatchObject({ restarts: 1 });
    expect(state.pid("api")).toBe(api);
    expect(isRunning(state.pid("worker"))).toBe(true);
  });

  test("a killed api comes back at the same address", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using stack = await startTestStack({ state, temporal: temporal.address });
    const { apiUrl } = stack;
    const before = state.pid("api");

    process.kill(before, "SIGKILL");
    const answered = await until("it answers again", () =>
      fetch(apiUrl).then(
        (answer) => answer.text(),
        () => undefined,
      ),
    );

    expect(answered).not.toBe(String(before));
    expect(stack.apiUrl).toBe(apiUrl);
  });

  test("after ten deaths in a minute it gives up in words and stops everything", { timeout: 60_000 }, async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const fire = state.file("fire");
    await using stack = await startTestStack({ state, temporal: temporal.address, worker: `dies-if:${fire}` });
    const api = state.pid("api");

    writeFileSync(fire, "");
    process.kill(state.pid("worker"), "SIGKILL");
    const end = await stack.exited;

    expect(end).toMatchObject({
      ended: "gave_up",
      message: expect.stringContaining("worker died 10 times within 60 s"),
    });
    expect(end.ended === "gave_up" && end.message).toContain("ended with code 7");
    expect(end.ended === "gave_up" && end.message).toContain("the disk is on fire");
    expect(end.ended === "gave_up" && end.message).toContain(state.file("logs", "worker.log"));
    expect(isRunning(api)).toBe(false);
    expect(state.entries()).toEqual([]);
  });

  test("a process that cannot be used as it is set up is not started again: its own words end the start", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    writeFileSync(state.file("broken"), "");

    const start = startTestStack({ state, temporal: temporal.address, worker: `unusable-if:${state.file("broken")}` });

    await expect(start).rejects.toMatchObject({
      kind: "unusable",
      message: "worker: ./tools.ts: it cannot be loaded",
    });
    expect(state.read("logs", "worker.log")).toBe("a line of the log\n"); // It was started once.
    expect(state.entries()).toEqual([]);
  });

  test("a process that becomes unusable later stops the stack with its words", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using stack = await startTestStack({
      state,
      temporal: temporal.address,
      worker: `unusable-if:${state.file("broken")}`,
    });
    const api = state.pid("api");

    writeFileSync(state.file("broken"), "");
    process.kill(state.pid("worker"), "SIGKILL");

    expect(await stack.exited).toEqual({
      ended: "gave_up",
      message: "worker: ./tools.ts: it cannot be loaded",
    });
    expect(isRunning(api)).toBe(false);
  });

  test("a taken port is named at once, with the way to choose another, and nothing is started", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using taken = await listening();

    const start = startTestStack({ state, temporal: temporal.address, env: { PERDURE_PORT: String(taken.port) } });

    await expect(start).rejects.toThrow(new RegExp(`port ${taken.port} .* taken .* set PERDURE_PORT`));
    expect(state.entries()).toEqual([]);
  });

  test("a port that is taken while the api is down ends the stack at once", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const fire = state.file("fire");
    await using stack = await startTestStack({ state, temporal: temporal.address, api: `dies-if:${fire}` });
    const port = Number(new URL(stack.apiUrl).port);

    writeFileSync(fire, "");
    process.kill(state.pid("api"), "SIGKILL");
    await using _taken = await until("the port is ours", () => listening(port).catch(() => undefined));

    expect(await stack.exited).toMatchObject({ ended: "gave_up", message: expect.stringContaining(`port ${port}`) });
  });

  test("a second stack on the same directory is refused, and told who holds it", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using stack = await startTestStack({ state, temporal: temporal.address });

    const second = startTestStack({ state, temporal: temporal.address });

    await expect(second).rejects.toThrow(
      new RegExp(`another perdure holds .*pid ${process.pid}, since 2.*${stack.apiUrl}`),
    );
    expect(state.entries()).toEqual(stack.processes());
  });

  test("stopping leaves no process, and stopping twice is stopping once", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const stack = await startTestStack({ state, temporal: temporal.address });
    const pids = stack.processes().map(({ pid }) => pid);

    await Promise.all([stack.stop(), stack.stop()]);

    expect(pids.map(isRunning)).toEqual([false, false]);
    expect(state.entries()).toEqual([]);
    expect(await stack.exited).toEqual({ ended: "stopped" });
    expect(stack.events.filter(({ type }) => type === "restarted")).toEqual([]);
  });

  test("programs that ignore SIGTERM are gone within ten seconds of a stop", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const stack = await startTestStack({ state, temporal: temporal.address, worker: "stubborn", api: "stubborn" });
    const pids = stack.processes().map(({ pid }) => pid);
    const from = Date.now();

    await stack.stop();

    expect(Date.now() - from).toBeLessThan(20_000);
    expect(pids.map(isRunning)).toEqual([false, false]);
  });

  test("kill ends a stop that is under way", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const stack = await startTestStack({ state, temporal: temporal.address, worker: "stubborn" });
    const from = Date.now();

    const stopped = stack.stop();
    stack.kill();
    await stopped;

    expect(Date.now() - from).toBeLessThan(8_000);
  });

  test("the api is not given the keys of models, the worker is", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using _stack = await startTestStack({
      state,
      temporal: temporal.address,
      env: { OPENAI_API_KEY: "sk-secret", COPILOT_GITHUB_TOKEN: "gho_secret" },
    });

    expect(JSON.parse(state.read("logs", "worker.log"))).toMatchObject({
      key: "sk-secret",
      token: "gho_secret",
      temporal: temporal.address,
    });
    expect(state.read("logs", "api.log")).not.toMatch(/secret/);
    // What the kernel shows of a process for as long as it lives.
    const shown = (["worker", "api"] as const).map((name) => readFileSync(`/proc/${state.pid(name)}/environ`, "utf8"));
    expect(shown.join()).toContain("PERDURE_STATE_DIR=");
    expect(shown.join()).not.toMatch(/secret/);
  });

  test.each([
    ["that is not there", 0],
    ["that does not serve", 2],
  ])("a Temporal server %s is waited for, and the wait can be stopped", async (_name, status) => {
    using state = new StateFolder();
    await using temporal = await healthServer(status);
    const address = status === 0 ? "127.0.0.1:1" : temporal.address;
    const stopping = new AbortController();

    const start = startTestStack({ state, temporal: address, signal: stopping.signal });
    stopping.abort();

    await expect(start).rejects.toMatchObject({ kind: "stopped" });
    expect(state.entries()).toEqual([]);
  });

  test("a start right after a kill takes over, and stops even what will not go", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const env = { TEMPORAL_ADDRESS: temporal.address };
    await using first = startSupervisor(state, env, "stubborn");
    await first.ready();
    const orphans = state.entries().map(({ pid }) => pid);
    process.kill(first.pid, "SIGKILL");

    await using second = startSupervisor(state, env);
    await second.ready();

    expect(orphans.filter(isRunning)).toEqual([]);
    expect(second.stderr()).toContain(`stopped what it left behind (pid ${orphans.join(", ")})`);
    expect(state.entries().map(({ pid }) => isRunning(pid))).toEqual([true, true]);
  });

  test("a second start while the first lives exits with 1 and names it", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    const env = { TEMPORAL_ADDRESS: temporal.address };
    await using first = startSupervisor(state, env);
    const api = /api (\S+)/.exec(await first.ready())?.[1] ?? "";

    await using second = startSupervisor(state, env);

    expect(await second.exited).toBe(1);
    expect(second.stdout()).toBe("");
    expect(second.stderr()).toMatch(
      new RegExp(`^perdure: another perdure holds .*: pid ${first.pid}, since .*${api}.*\n$`),
    );
  });

  test("Ctrl-C twice ends programs that will not drain, at once", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using supervisor = startSupervisor(state, { TEMPORAL_ADDRESS: temporal.address }, "stubborn");
    await supervisor.ready();
    const pids = state.entries().map(({ pid }) => pid);
    const from = Date.now();

    process.kill(supervisor.pid, "SIGINT");
    await until("it says that it stops", () => supervisor.stderr().includes("once more"));
    await until("pressing it again has ended it", () => !supervisor.child.kill("SIGINT"));
    await supervisor.exited;

    expect(Date.now() - from).toBeLessThan(8_000);
    expect(pids.filter(isRunning)).toEqual([]);
  });

  test("one Ctrl-C that arrives twice, as under npm, still lets everything drain", async () => {
    using state = new StateFolder();
    await using temporal = await healthServer();
    await using supervisor = startSupervisor(state, { TEMPORAL_ADDRESS: temporal.address }, "slow");
    await supervisor.ready();

    process.kill(supervisor.pid, "SIGINT");
    await until("it has seen the first", () => supervisor.stderr().includes("once more"));
    process.kill(supervisor.pid, "SIGINT");

    expect(await supervisor.exited).toBe(0);
    expect(state.read("logs", "worker.log")).toContain("drained");
    expect(state.read("logs", "api.log")).toContain("drained");
  });

  test("a wrong environment is told in one line per variable, without a stack trace", async () => {
    using state = new StateFolder();
    await using supervisor = startSupervisor(state, { PERDURE_PORT: "none", PERDURE_HOST: "0.0.0.0" });

    expect(await supervisor.exited).toBe(2);
    expect(supervisor.stderr()).toMatch(/^perdure: .*\n {2}PERDURE_PORT: .*\n {2}PERDURE_HOST: .*\n$/);
  });

  test.each([
    ["below a file", ["file", "below"]],
    ["where no folder can be made", ["proc", "below"]],
  ])("a state directory that cannot be made is told in words (%s)", async (_where, parts) => {
    using state = new StateFolder();
    writeFileSync(state.file("file"), "");
    symlinkSync("/proc", state.file("proc"));
    await using supervisor = startSupervisor(state, { PERDURE_STATE_DIR: state.file(...parts) });

    expect(await supervisor.exited).toBe(1);
    expect(supervisor.stderr()).toMatch(/^perdure: the state directory .* cannot be made: .*\n$/);
  });
});

async function listening(port = 0): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}
