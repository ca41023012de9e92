/** One exec of the Modal stand-in: a process in its place, what it printed kept in files, its input taken by offset. */
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { StatusError } from "./modal-faults.ts";
import { type Place, placeEnvironment } from "./modal-place.ts";

const READ_BYTES = 256 * 1024;
/** Somebody may hold the output open after the end; it is closed then all the same. */
const OUTPUT_GRACE_MS = 300;

export type Exit = { readonly code: number } | { readonly signal: number };

export interface ExecRequest {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number | undefined;
  readonly terminal: { readonly rows: number; readonly columns: number } | undefined;
  /** A folder of the stand-in for what it prints. */
  readonly folder: string;
}

export interface Exec {
  readonly outputs: readonly [Printed, Printed];
  exit(): Exit | undefined;
  /** Resolves at its end, or when the signal aborts. */
  ended(signal: AbortSignal): Promise<void>;
  /** Takes each byte once, however often it is sent: a retry comes with the offset of the first time. */
  write(offset: number, data: Uint8Array, eof: boolean): Promise<void>;
  input(): { readonly bytes: number; readonly closed: boolean };
  close(): void;
}

/** What one stream printed: readable from any offset, any number of times. */
export interface Printed {
  /** The next bytes from there on; undefined when there are none and none will come. Waits while some may come. Throws once its sandbox is gone. */
  read(offset: number, signal: AbortSignal): Promise<Buffer | undefined>;
}

export async function startExec(place: Place, request: ExecRequest): Promise<Exec> {
  const outputs = [keptIn(`${request.folder}.stdout`), keptIn(`${request.folder}.stderr`)] as const;
  const news = new EventEmitter().setMaxListeners(0);
  const running = request.terminal === undefined ? startPlain(place, request) : await startTerminal(place, request);
  const input = { bytes: 0, closed: false };
  let writing = Promise.resolve();
  let exit: Exit | undefined;

  const timer = request.timeoutMs === undefined ? undefined : setTimeout(running.kill, request.timeoutMs);
  running.onData((stream, data) => outputs[stream].append(data));
  running.onExit((how, isWhole) => {
    exit ??= how;
    clearTimeout(timer);
    news.emit("end");
    const close = () => {
      for (const output of outputs) output.end();
    };
    if (isWhole) close();
    else setTimeout(close, OUTPUT_GRACE_MS).unref();
  });

  return {
    outputs,
    exit: () => exit,
    async ended(signal) {
      if (exit === undefined && !signal.aborted) await happens(news, "end", signal);
    },
    write(offset, data, eof) {
      writing = writing.then(async () => {
        if (offset > input.bytes)
          throw new StatusError("INVALID_ARGUMENT", `offset ${offset} is beyond ${input.bytes}`);
        const fresh = data.subarray(Math.min(input.bytes - offset, data.length));
        if (fresh.length > 0 && input.closed) throw new StatusError("FAILED_PRECONDITION", "the input is closed");
        input.bytes += fresh.length;
        if (fresh.length > 0) await running.write(fresh);
        if (eof && !input.closed) running.endInput();
        input.closed ||= eof;
      });
      const written = writing;
      writing = writing.catch(() => {});
      return written;
    },
    input: () => input,
    close() {
      running.kill();
      clearTimeout(timer);
      for (const output of outputs) output.close();
    },
  };
}

interface Running {
  onData(take: (stream: 0 | 1, data: Uint8Array) => void): void;
  /** `isWhole`: all that it printed has come. May be called twice, the second time whole. */
  onExit(take: (exit: Exit, isWhole: boolean) => void): void;
  write(data: Uint8Array): Promise<void>;
  endInput(): void;
  kill(): void;
}

function startPlain(place: Place, { argv, cwd, environment }: ExecRequest): Running {
  const { file, arguments: rest } = place.enter(argv, cwd);
  const child = spawn(file, rest, { env: placeEnvironment(environment), detached: true, stdio: "pipe" });
  child.stdin.on("error", () => {}); // Its reader is gone: no matter.
  const exitOf = (code: number | null, signal: NodeJS.Signals | null): Exit =>
    code === null ? { signal: constants.signals[signal ?? "SIGKILL"] } : { code };
  return {
    onData(take) {
      child.stdout.on("data", (data: Buffer) => take(0, data));
      child.stderr.on("data", (data: Buffer) => take(1, data));
    },
    onExit(take) {
      child.once("error", () => take({ code: 127 }, true));
      child.once("exit", (code, signal) => take(exitOf(code, signal), false));
      child.once("close", (code, signal) => take(exitOf(code, signal), true));
    },
    write: (data) => new Promise((resolve) => child.stdin.write(data, () => resolve())),
    endInput: () => child.stdin.end(),
    kill() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It ended in this instant.
      }
    },
  };
}

async function startTerminal(place: Place, request: ExecRequest): Promise<Running> {
  const pty = await import("@lydell/node-pty");
  const { file, arguments: rest } = place.enter(request.argv, request.cwd);
  const terminal = pty.spawn(file, [...rest], {
    env: placeEnvironment({ TERM: "xterm-256color", ...request.environment }),
    rows: request.terminal?.rows ?? 24,
    cols: request.terminal?.columns ?? 80,
    encoding: null,
  });
  return {
    // Without an encoding it gives bytes, whatever its types say.
    onData: (take) => void terminal.onData((data: unknown) => take(0, data as Buffer)),
    onExit: (take) =>
      void terminal.onExit(({ exitCode, signal }) => take(signal ? { signal } : { code: exitCode }, false)),
    // It takes bytes, whatever its types say: a character may come in two halves.
    write: async (data) => terminal.write(Buffer.from(data) as unknown as string),
    endInput: () => terminal.write("\u0004"),
    kill() {
      try {
        terminal.kill("SIGKILL");
      } catch {
        // It ended in this instant.
      }
    },
  };
}

function keptIn(file: string): Printed & { append(data: Uint8Array): void; end(): void; close(): void } {
  const handle = openSync(file, "w+");
  const news = new EventEmitter().setMaxListeners(0);
  let length = 0;
  let isEnded = false;
  let isClosed = false;
  return {
    append(data) {
      if (isClosed) return;
      writeSync(handle, data, 0, data.length, length);
      length += data.length;
      news.emit("more");
    },
    end() {
      isEnded = true;
      news.emit("more");
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      isEnded = true;
      closeSync(handle);
      news.emit("more");
    },
    async read(offset, signal) {
      while (offset >= length && !isEnded && !signal.aborted) await happens(news, "more", signal);
      if (isClosed) throw new StatusError("UNAVAILABLE", "the sandbox is gone");
      if (offset >= length || signal.aborted) return undefined;
      const bytes = Buffer.allocUnsafe(Math.min(READ_BYTES, length - offset));
      return bytes.subarray(0, readSync(handle, bytes, 0, bytes.length, offset));
    },
  };
}

function happens(news: EventEmitter, event: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      news.off(event, done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    news.on(event, done);
    signal.addEventListener("abort", done);
  });
}
