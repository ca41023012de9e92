/** The warm shells of one handle of a remote sandbox: made when they are needed, shared by requests, closed when idle. */
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../../contract/limits.ts";
import { SandboxError } from "../provider.ts";
import { type RequestOptions, ShellEndedError, type ShellPlace, WarmShell } from "./shell.ts";

/** Shells that are opened at once: while one is, another may come free. */
const OPENING_MAX = 2;
const OPEN_AGAIN_MS = 250;
/** Before a request whose shell was ended is asked again: some ten seconds, where shells have run before. */
const PAUSES_MS = [0, 50, 250, 500, 1_000, 1_000, 2_000, 2_000, 3_000] as const;

export interface Reply {
  readonly status: number;
  readonly output: Buffer;
}

export interface AskOptions extends RequestOptions {
  /** An answer that is longer is refused. Default 64 KiB. */
  readonly bytesMax?: number;
  /** Aborting it ends the waiting, not the request. */
  readonly signal?: AbortSignal;
}

const ANSWER_BYTES = 64 * 1024;

interface Waiter {
  give(shell: WarmShell): void;
  fail(thrown: unknown): void;
}

export class Shells {
  readonly #place: ShellPlace;
  readonly #all = new Set<WarmShell>();
  readonly #idle = new Map<WarmShell, NodeJS.Timeout>();
  readonly #waiting: Waiter[] = [];
  #opening = 0;
  /** A shell could be run in it once: what ends them now may pass. */
  #hasWorked = false;
  #isClosed = false;

  constructor(place: ShellPlace) {
    this.#place = place;
  }

  /**
   * Asks for something that may be asked again: when the shell ends in the middle, a new one is asked, a few times. Throws
   * SandboxError: `lost` when there is none to be had, `failed` for an answer that is too long, too late or no answer.
   */
  async ask(line: string, options: AskOptions = {}): Promise<Reply> {
    const asking = this.#askAgain(line, options);
    const reply = await unless(options.signal, asking);
    if (reply !== undefined) return reply;
    throw new SandboxError("failed", "the request was given up");
  }

  /** A shell of one's own for one request whose bytes are streamed. It goes back when `work` is done with its whole answer. */
  async use<T>(work: (shell: WarmShell) => Promise<T>): Promise<T> {
    const shell = await this.take();
    try {
      return await work(shell);
    } catch (thrown) {
      shell.close();
      throw thrown instanceof ShellEndedError ? await this.whyEnded() : thrown;
    } finally {
      this.giveBack(shell);
    }
  }

  async take(): Promise<WarmShell> {
    if (this.#isClosed) throw new SandboxError("failed", "this handle of the sandbox was closed");
    for (const [shell, timer] of this.#idle) {
      clearTimeout(timer);
      this.#idle.delete(shell);
      if (!shell.isBroken) return shell;
      this.#all.delete(shell);
    }
    return new Promise((give, fail) => {
      this.#waiting.push({ give, fail });
      this.#openMore();
    });
  }

  giveBack(shell: WarmShell): void {
    if (shell.isBroken || this.#isClosed) {
      shell.close();
      this.#all.delete(shell);
      this.#openMore();
      return;
    }
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) {
      waiter.give(shell);
      return;
    }
    const timer = setTimeout(() => {
      this.#idle.delete(shell);
      this.#all.delete(shell);
      shell.close();
    }, LIMITS.remoteShellIdleMs);
    timer.unref();
    this.#idle.set(shell, timer);
  }

  /** For whoever may have left the answer before its end: the next request would read the rest of it. */
  giveBackOrClose(shell: WarmShell): void {
    if (shell.isAnswering) shell.close();
    this.giveBack(shell);
  }

  /** What is to be said when a shell ended before its answer: a new one tells whether the sandbox is there. */
  async whyEnded(): Promise<SandboxError> {
    try {
      this.giveBack(await this.take());
    } catch (thrown) {
      if (thrown instanceof SandboxError) return thrown;
    }
    return new NoShellError("the connection to the sandbox broke off");
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#idle.values()) clearTimeout(timer);
    this.#idle.clear();
    for (const shell of this.#all) shell.close();
    this.#all.clear();
    const closed = new SandboxError("failed", "this handle of the sandbox was closed");
    for (const waiter of this.#waiting.splice(0)) waiter.fail(closed);
  }

  /**
   * A sandbox that is out of memory kills what it finds, our shells among it; one that is full of processes has no room for
   * what they start. Both are the doing of its commands, and pass with them.
   */
  async #askAgain(line: string, options: AskOptions): Promise<Reply> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#askOnce(line, options);
      } catch (thrown) {
        if (!(thrown instanceof ShellEndedError) && thrown !== NO_SHELL) throw thrown;
        const pauseMs = this.#hasWorked || tries === 0 ? PAUSES_MS[tries] : undefined;
        if (pauseMs === undefined) throw thrown === NO_SHELL ? thrown : await this.whyEnded();
        await delay(pauseMs);
      }
    }
  }

  async #askOnce(line: string, { bytesMax = ANSWER_BYTES, ...options }: AskOptions): Promise<Reply> {
    const shell = await this.take();
    try {
      const answer = shell.request(line, options);
      const parts: Uint8Array[] = [];
      let bytes = 0;
      while (true) {
        const next = await answer.next();
        if (next.done === true) return { status: next.value, output: Buffer.concat(parts) };
        bytes += next.value.length;
        if (bytes > bytesMax) {
          shell.close();
          throw new SandboxError("failed", `the sandbox does not work as it should: an answer over ${bytesMax} bytes`);
        }
        parts.push(next.value);
      }
    } finally {
      this.giveBack(shell);
    }
  }

  #openMore(): void {
    const room = LIMITS.remoteShellsMax - this.#all.size - this.#opening;
    const more = Math.min(room, OPENING_MAX - this.#opening, this.#waiting.length - this.#opening);
    for (let left = more; left > 0 && !this.#isClosed; left--) {
      this.#opening += 1;
      openShell(this.#place)
        .finally(() => {
          this.#opening -= 1;
        })
        .then(
          (shell) => {
            this.#all.add(shell);
            this.#hasWorked = true;
            this.giveBack(shell);
          },
          (thrown: unknown) => this.#failOne(thrown),
        );
    }
  }

  /** Whoever waits longest learns why; the others get a try of their own. */
  #failOne(thrown: unknown): void {
    // A sandbox that is gone is gone for all of them.
    const isForAll = thrown instanceof SandboxError && thrown.kind === "lost";
    const cause = isForAll ? thrown : noShell(thrown);
    for (const waiter of this.#waiting.splice(0, isForAll ? this.#waiting.length : 1)) waiter.fail(cause);
    this.#openMore();
  }
}

/** Twice, for a sandbox that is dying may still start a program; the next time it says that it is gone. */
async function openShell(place: ShellPlace): Promise<WarmShell> {
  try {
    return await WarmShell.open(place);
  } catch (thrown) {
    if (!(thrown instanceof ShellEndedError)) throw thrown;
    await new Promise((resolve) => setTimeout(resolve, OPEN_AGAIN_MS));
    return WarmShell.open(place);
  }
}

/** No shell is to be had in the sandbox, which is said to be there: it may be full of what runs in it, or out of reach. Both may pass. */
export class NoShellError extends SandboxError {
  constructor(message: string, options?: ErrorOptions) {
    super("failed", message, options);
  }
}

function noShell(thrown: unknown): unknown {
  if (thrown instanceof ShellEndedError) return NO_SHELL;
  const mayPass = thrown instanceof SandboxError && thrown.kind === "failed";
  return mayPass ? new NoShellError(thrown.message, { cause: thrown }) : thrown;
}

const NO_SHELL = new NoShellError(
  "no shell could be run in the sandbox: its image needs a working `sh`, and room for one more process",
);

/** What `work` gives, or undefined as soon as the signal is aborted. */
export async function unless<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T | undefined> {
  if (signal === undefined) return work;
  work.catch(() => undefined);
  if (signal.aborted) return undefined;
  const aborted = Promise.withResolvers<undefined>();
  const abort = (): void => aborted.resolve(undefined);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
