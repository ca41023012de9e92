/**
 * A spare of one process of the stack: its program is loaded, and it begins when the one in service dies. To load the program
 * takes most of a start, seconds on a loaded machine, and as long nobody would take what waits at Temporal.
 *
 * It holds nothing before it begins, so it is killed without asking, and ends by itself when the supervisor is gone.
 */
import type { ChildProcess } from "node:child_process";
import { SPARE_ARGUMENT, SPARE_BEGINS } from "../contract/config.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Command, spawnProcess } from "./spawned-process.ts";

export class SpareProcess {
  readonly #command: () => Command;
  readonly #logFile: string;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(command: () => Command, logFile: string) {
    this.#command = command;
    this.#logFile = logFile;
  }

  /** There is one in a while, unless there is one already. */
  prepare(afterMs: number = LIMITS.spareAfterMs.ready): void {
    if (this.#isOver || this.#child) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), afterMs).unref();
  }

  /** Takes it into service; undefined when there is none. */
  take(): ChildProcess | undefined {
    clearTimeout(this.#timer);
    const child = this.#child;
    this.#child = undefined;
    if (!child?.connected || child.exitCode !== null || child.signalCode !== null) return undefined;
    child.removeAllListeners();
    child.send(SPARE_BEGINS, () => undefined); // When it cannot be told it has just died, and whoever took it hears of that.
    return child;
  }

  /** Resolves when it is gone, too. */
  async stop(): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.removeAllListeners().once("exit", () => resolve()));
    if (child.kill("SIGKILL")) await gone;
  }

  /** Without a spare a start only takes longer, so a fault is no more than that. */
  #load(): void {
    const forget = (): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.prepare(LIMITS.spareAfterMs.died);
    };
    let child: ChildProcess | undefined;
    try {
      const { args, ...command } = this.#command();
      child = spawnProcess({ ...command, args: [...args, SPARE_ARGUMENT] }, this.#logFile);
      this.#child = child;
      child.once("exit", forget).once("error", forget);
    } catch {
      this.prepare(LIMITS.spareAfterMs.died);
    }
  }
}
