/** Interactive shells on this host, each in a pseudo-terminal of its own. */
import { randomUUID } from "node:crypto";
import { processState } from "./call-folder.ts";
import { killSession, type MarkedSession, signalKill } from "./host-processes.ts";
import type { Terminal, TerminalOptions } from "./provider.ts";
import { SandboxError } from "./provider.ts";

export interface TerminalProgram {
  readonly argv: readonly [file: string, ...args: string[]];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** By it what a terminal has started is known when the shell is gone. */
const MARK = "PERDURE_TERMINAL";
/** Read ahead of whoever reads the output; the shell waits beyond it. */
const UNREAD_BYTES_MAX = 256 * 1024;
/** How long a shell that was hung up gets to end by itself. */
const HANG_UP_MS = 300;
/** The end of a process may be seen before its last output. */
const LAST_OUTPUT_MS = 30;

/** Starts it. Throws SandboxError `failed` where no terminal can be made. The package is loaded by the first one only. */
export async function openHostTerminal(program: TerminalProgram, options: TerminalOptions): Promise<Terminal> {
  const [file, ...args] = program.argv;
  const mark = options.mark ?? randomUUID();
  try {
    const { spawn } = await import("@lydell/node-pty");
    const pty = spawn(file, args, {
      name: "xterm-256color",
      cols: options.columns,
      rows: options.rows,
      cwd: program.cwd,
      env: { ...program.environment, [MARK]: mark },
      encoding: null,
    });
    return terminalOf(pty, { leader: pty.pid, startedAt: processState(pty.pid)?.startedAt, mark: [MARK, mark] });
  } catch (cause) {
    throw new SandboxError("failed", "no terminal could be made on this host", { cause });
  }
}

type Pty = ReturnType<typeof import("@lydell/node-pty")["spawn"]>;

function terminalOf(pty: Pty, session: MarkedSession): Terminal {
  const unread: Uint8Array[] = [];
  let unreadBytes = 0;
  let hasEnded = false;
  let wake: (() => void) | undefined;
  const decoder = new TextDecoder();
  // Its type says text, but without an encoding it is bytes.
  pty.onData((data: string | Uint8Array) => {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    unread.push(bytes);
    unreadBytes += bytes.length;
    if (unreadBytes > UNREAD_BYTES_MAX) pty.pause();
    wake?.();
  });
  const exited = new Promise<void>((resolve) => {
    pty.onExit(() => {
      setTimeout(() => {
        hasEnded = true;
        wake?.();
        resolve();
      }, LAST_OUTPUT_MS);
    });
  });
  async function* output(): AsyncGenerator<Uint8Array, void, void> {
    while (true) {
      const bytes = unread.shift();
      if (bytes !== undefined) {
        unreadBytes -= bytes.length;
        if (unreadBytes <= UNREAD_BYTES_MAX / 2 && !hasEnded) pty.resume();
        yield bytes;
      } else if (hasEnded) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  }
  return {
    output: output(),
    write: (input) => {
      if (!hasEnded) pty.write(decoder.decode(input, { stream: true }));
    },
    resize: (columns, rows) => {
      if (!hasEnded) pty.resize(Math.max(1, columns), Math.max(1, rows));
    },
    async close() {
      if (!hasEnded) {
        pty.resume();
        signalHangUp(pty.pid);
        await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, HANG_UP_MS))]);
      }
      // Also what the shell has left behind in its session.
      killSession(session);
      // Not reaped yet, so the number is still its own.
      if (!hasEnded) for (const number of [-pty.pid, pty.pid]) signalKill(number);
      await exited;
    },
  };
}

function signalHangUp(pid: number): void {
  try {
    process.kill(-pid, "SIGHUP");
  } catch {
    // It has ended.
  }
}
