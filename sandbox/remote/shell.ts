/**
 * One shell that waits inside a remote sandbox: a request at a time, its answer framed by a random name.
 *
 * Whatever runs in the sandbox may own that shell, so nothing of an answer is believed: what is collected is bounded, and so
 * is the silence before each of its pieces.
 */
import { randomBytes } from "node:crypto";
import { LIMITS } from "../../contract/limits.ts";
import { bytesOfLine } from "../file-names.ts";
import { SandboxError } from "../provider.ts";
import type { ExecChannel, RemoteProcess } from "./channel.ts";
import { shellScript } from "./shell-script.ts";
import { shellLineWord } from "./shell-word.ts";

/** A longer line goes by file: a shell reads its lines byte by byte. */
const LINE_BYTES_MAX = 24 * 1024;
/** Of the last line of an answer, which is a small number. */
const STATUS_BYTES_MAX = 16;

export interface ShellPlace {
  readonly channel: ExecChannel;
  readonly workspace: string;
  readonly state: string;
  /** Variables of all commands. */
  readonly environment: Readonly<Record<string, string>>;
}

/** What the shell prints for a request, and then its status. It has to be read to its end before the next request. */
export type Answer = AsyncGenerator<Uint8Array, number, void>;

export interface RequestOptions {
  /** What may pass without a byte from the sandbox while one is waited for. Default `LIMITS.remoteSilenceMs`. */
  readonly silenceMs?: number;
  /** The line holds what may be in no file. */
  readonly isSecret?: boolean;
}

export class WarmShell {
  readonly #process: RemoteProcess;
  readonly #incoming: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  #isBroken = false;
  #isAnswering = false;

  private constructor(process: RemoteProcess) {
    this.#process = process;
    this.#incoming = process.stdout[Symbol.asyncIterator]();
  }

  static async open({ channel, workspace, state, environment }: ShellPlace): Promise<WarmShell> {
    const process = await channel.exec(["sh", "-c", shellScript({ workspace, state }), "perdure"], { stdin: true });
    const shell = new WarmShell(process);
    try {
      const answer = shell.request(exportLine(environment));
      while ((await answer.next()).done !== true);
    } catch (thrown) {
      shell.close();
      throw thrown;
    }
    return shell;
  }

  /** Whether it is of no more use: its connection or its answer broke off. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Whether an answer was not read to its end. */
  get isAnswering(): boolean {
    return this.#isAnswering;
  }

  /** `line` is one line of sh and holds no NUL. The request goes out at once. */
  request(line: string, { silenceMs = LIMITS.remoteSilenceMs, isSecret = false }: RequestOptions = {}): Answer {
    const name = randomBytes(16).toString("hex");
    this.#isAnswering = true;
    const sent = this.#send(name, line, isSecret);
    sent.catch(() => this.close()); // The answer breaks off, and says so.
    return this.#answer(name, silenceMs);
  }

  /** One block of what the running request takes in. Rejects when the connection is gone, or takes nothing for too long. */
  async give(block: Uint8Array): Promise<void> {
    const timer = setTimeout(() => this.close(), LIMITS.remoteSilenceMs);
    try {
      await this.#process.write(Buffer.concat([Buffer.from(`${block.length}\n`), block]));
    } finally {
      clearTimeout(timer);
    }
  }

  /** No more blocks; or none because they cannot be had, and the request is to leave no trace. */
  async giveEnd(how: "whole" | "cancelled" = "whole"): Promise<void> {
    await this.#process.write(Buffer.from(how === "whole" ? "0\n" : "-\n"));
  }

  close(): void {
    this.#isBroken = true;
    this.#process.kill();
  }

  async #send(name: string, line: string, isSecret: boolean): Promise<void> {
    const bytes = bytesOfLine(line);
    if (isSecret || bytes.length <= LINE_BYTES_MAX)
      return this.#process.write(Buffer.concat([Buffer.from(`${name}\n`), bytes, Buffer.from("\n")]));
    await this.#process.write(Buffer.from(`${name}\nrun_long\n`));
    for (let done = 0; done < bytes.length; done += LIMITS.remoteBlockBytes) {
      await this.give(bytes.subarray(done, done + LIMITS.remoteBlockBytes));
    }
    await this.giveEnd();
  }

  async *#answer(name: string, silenceMs: number): Answer {
    const mark = Buffer.from(`\n${name} `);
    let pending = Buffer.alloc(0);
    let whole = false;
    try {
      while (true) {
        const at = pending.indexOf(mark);
        if (at >= 0) {
          const line = pending.subarray(at + mark.length);
          const end = line.indexOf("\n");
          if (end < 0 && line.length > STATUS_BYTES_MAX) throw this.#broken("an answer without an end");
          if (end >= 0) {
            if (at > 0) yield pending.subarray(0, at);
            this.#rest = line.subarray(end + 1);
            whole = true;
            this.#isAnswering = false;
            return Number.parseInt(line.toString("latin1", 0, end), 10);
          }
        } else if (pending.length >= mark.length) {
          const safe = pending.length - mark.length + 1;
          yield pending.subarray(0, safe);
          pending = pending.subarray(safe);
        }
        const next = await this.#next(silenceMs);
        pending = Buffer.concat([pending, next]);
      }
    } finally {
      if (!whole) this.close(); // Nobody knows any more where the next answer begins.
    }
  }

  async #next(silenceMs: number): Promise<Uint8Array> {
    if (this.#rest.length > 0) {
      const rest = this.#rest;
      this.#rest = new Uint8Array();
      return rest;
    }
    const timeout = Promise.withResolvers<never>();
    const timer = setTimeout(() => timeout.reject(this.#broken(`no answer within ${silenceMs} ms`)), silenceMs);
    try {
      const next = await Promise.race([this.#incoming.next(), timeout.promise]);
      if (next.done === true) throw new ShellEndedError();
      return next.value;
    } catch (thrown) {
      this.close();
      // However a connection says that it broke off.
      throw thrown instanceof SandboxError ? thrown : new ShellEndedError();
    } finally {
      clearTimeout(timer);
    }
  }

  #broken(words: string): SandboxError {
    return new SandboxError("failed", `the sandbox does not work as it should: ${words}`);
  }
}

/** A line that makes these the variables of all that is started after it; it begins with something that does nothing. */
export function exportLine(variables: Readonly<Record<string, string>>): string {
  return [":", ...Object.entries(variables).map(([name, value]) => `export ${name}=${shellLineWord(value)}`)].join(
    "; ",
  );
}

/** The shell ended before its answer did: the sandbox is gone, its connection broke, or it could not make a process. */
export class ShellEndedError extends Error {
  override readonly name = "ShellEndedError";

  constructor() {
    super("the shell in the sandbox ended");
  }
}
