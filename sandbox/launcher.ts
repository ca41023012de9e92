/**
 * Starts detached processes by way of a small process of its own.
 *
 * To fork costs by the memory of whoever forks: 15 ms in a worker of 400 MB, 2.5 ms in a process of 40 MB, measured.
 */
import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type DetachedScript, spawnDetached } from "./detached.ts";

const HERE = fileURLToPath(import.meta.url);
const PROGRAM = path.join(path.dirname(HERE), `launcher-process${path.extname(HERE)}`);

interface Pending {
  readonly request: DetachedScript;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Launcher {
  readonly #pending = new Map<number, Pending>();
  #child: ChildProcess | undefined;
  #lastId = 0;

  /** Resolves as `spawnDetached` does. When the small process is lost this one starts the script again by itself, which a script must bear. */
  run(request: DetachedScript): Promise<void> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#pending.set(id, { request, resolve, reject });
      this.#child ??= this.#start();
      this.#child.channel?.ref();
      this.#child.send({ id, ...request }, (error) => {
        if (error) this.#fallBack(id);
      });
    });
  }

  /** Starts the small process ahead of the first script. */
  warm(): void {
    this.#child ??= this.#start();
    if (this.#pending.size === 0) this.#child.channel?.unref();
  }

  #start(): ChildProcess {
    // Nothing of our environment: whatever it starts has its own.
    const child = fork(PROGRAM, [], { env: {}, execArgv: [], stdio: "ignore" });
    child.on("message", (answer: { readonly id: number; readonly error?: string }) => {
      const pending = this.#take(answer.id);
      if (answer.error === undefined) pending?.resolve();
      else pending?.reject(new Error(answer.error));
    });
    const lost = (): void => {
      if (this.#child === child) this.#child = undefined;
      for (const id of [...this.#pending.keys()]) this.#fallBack(id);
    };
    child.once("error", lost);
    child.once("exit", lost);
    child.unref();
    return child;
  }

  #fallBack(id: number): void {
    const pending = this.#take(id);
    if (pending) spawnDetached(pending.request).then(pending.resolve, pending.reject);
  }

  /** While nothing is asked of it, the small process keeps nobody alive. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#child?.channel?.unref();
    return pending;
  }
}
