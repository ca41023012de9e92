/** A worker has a spare that is loaded already: it begins when the one in service dies, and it never outlives the stack. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { programArguments } from "../../cli/package-root.ts";
import { type ProcessEvent, SupervisedProcess } from "../../cli/supervised-process.ts";
import { SPARE_ARGUMENT } from "../../contract/config.ts";
import { isRunning, until } from "./fixtures/world.ts";

const PROGRAM = fileURLToPath(new URL("./fixtures/spare-program.ts", import.meta.url));

class Supervised implements AsyncDisposable {
  readonly process: SupervisedProcess;
  readonly events: ProcessEvent[] = [];
  readonly #folder = mkdtempSync(path.join(tmpdir(), "perdure-spare-"));

  constructor() {
    writeFileSync(this.#file, "");
    const args = [PROGRAM, this.#file];
    this.process = new SupervisedProcess(
      {
        name: "worker",
        logFile: path.join(this.#folder, "worker.log"),
        hasSpare: true,
        command: () => ({ file: process.execPath, args, env: process.env, channel: "ipc" }),
        obstacle: async () => undefined,
      },
      { onEvent: (event) => this.events.push(event), onChange: () => undefined, onGiveUp: () => undefined },
    );
    this.process.start();
  }

  get #file(): string {
    return path.join(this.#folder, "told");
  }

  /** Of those that did it, in order. */
  pids(what: "loaded" | "begun"): readonly number[] {
    const told = readFileSync(this.#file, "utf8").split("\n");
    return told.filter((line) => line.startsWith(what)).map((line) => Number(line.split(" ")[1]));
  }

  async spare(count: number): Promise<number> {
    await until(`spare ${count} is loaded`, () => this.pids("loaded").length >= count);
    return this.pids("loaded")[count - 1] ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.stop(1_000);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

test("the spare begins when the process in service dies, and there is another one afterwards", async () => {
  await using supervised = new Supervised();
  await supervised.process.firstReady;
  const spare = await supervised.spare(1);

  process.kill(supervised.process.entry?.pid ?? 0, "SIGKILL");
  await until("the spare is ready", () => supervised.events.filter(({ type }) => type === "ready").length === 2);

  expect(supervised.process.entry).toMatchObject({ pid: spare, restarts: 1 });
  expect(supervised.events).toContainEqual(expect.objectContaining({ type: "restarted", pid: spare }));
  expect(await supervised.spare(2)).not.toBe(spare);
});

test("where the spare has died too, the process is started as ever", async () => {
  await using supervised = new Supervised();
  await supervised.process.firstReady;
  const spare = await supervised.spare(1);
  process.kill(spare, "SIGKILL");
  await until("the spare is gone", () => !isRunning(spare));

  process.kill(supervised.process.entry?.pid ?? 0, "SIGKILL");
  await until("it is ready again", () => supervised.pids("begun").length === 2);

  expect(supervised.pids("loaded")).not.toContain(supervised.pids("begun")[1]);
});

test("a spare that was frozen when it was needed begins when it hears of it", async () => {
  await using supervised = new Supervised();
  await supervised.process.firstReady;
  const spare = await supervised.spare(1);
  process.kill(spare, "SIGSTOP");

  process.kill(supervised.process.entry?.pid ?? 0, "SIGKILL");
  await until("the spare is in service", () => supervised.process.entry?.pid === spare);
  process.kill(spare, "SIGCONT");

  await until("it has begun after all", () => supervised.pids("begun").includes(spare));
});

test("the spare ends with its process, which is stopped or killed", async () => {
  for (const how of ["stop", "kill"] as const) {
    await using supervised = new Supervised();
    await supervised.process.firstReady;
    const spare = await supervised.spare(1);

    if (how === "stop") await supervised.process.stop(1_000);
    else supervised.process.kill();

    await until("the spare is gone", () => !isRunning(spare));
  }
});

test("a worker that is a spare opens nothing, and ends with its supervisor", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-spare-"));
  const state = path.join(folder, "state");
  const env = { ...process.env, PERDURE_STATE_DIR: state, TEMPORAL_ADDRESS: "127.0.0.1:1" };
  const args = [...programArguments("workers/main"), SPARE_ARGUMENT];
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const exited = once(child, "exit");

  child.disconnect();

  expect(await exited).toEqual([0, null]);
  expect(() => readFileSync(state)).toThrow(/ENOENT/);
  rmSync(folder, { recursive: true, force: true });
});
