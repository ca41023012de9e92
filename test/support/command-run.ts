/** Runs the `perdure` command as a person would, as a process of its own, and tells what it printed and how it ended. */
import { type ChildProcess, spawn } from "node:child_process";

export interface CommandEnd {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandRun implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  readonly ended: Promise<CommandEnd>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], options: { readonly env?: NodeJS.ProcessEnv; readonly input?: string } = {}) {
    // Not the machine's own settings: colours, ports and keys would change what is printed.
    const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
    const env = { PATH, HOME, NODE_COMPILE_CACHE, ...options.env };
    this.#child = spawn(process.execPath, ["cli/main.ts", ...args], { env });
    this.#child.stdin?.on("error", () => undefined); // It may end before it has read all.
    this.#child.stdin?.end(options.input ?? "");
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#look();
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#look();
    });
    this.ended = new Promise((resolve) => {
      this.#child.on("close", (exitCode) => resolve({ exitCode, stdout: this.stdout, stderr: this.stderr }));
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Nobody reads its standard output any more. */
  closeStdout(): void {
    this.#child.stdout?.destroy();
  }

  /** Resolves when the text has been printed. */
  until(text: string, deadlineMs = 10_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`"${text}" did not come; there is:\n${this.stdout}\n${this.stderr}`)),
        deadlineMs,
      );
      const look = (): void => {
        if (!this.stdout.includes(text) && !this.stderr.includes(text)) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  #look(): void {
    for (const look of [...this.#watchers]) look();
  }
}
