/** An interactive shell in a container, by an `exec` with a terminal. */
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import { createDockerChannel, startExec } from "./docker-channel.ts";
import { WORKSPACE } from "./docker-container.ts";
import type { DockerEngine } from "./docker-engine.ts";
import type { Terminal, TerminalOptions } from "./provider.ts";
import { SandboxError } from "./provider.ts";

const RESIZE = { timeoutMs: 5_000, triesMax: 20, againMs: 50 } as const;
const CLOSE_MS = 5_000;

/** The shell of the terminal tells its session by a file, so that all of it can be ended: an exec itself cannot. */
const OPEN_SCRIPT = `
mkdir -p /perdure/tmp && echo $$ >"/perdure/tmp/.terminal-$1"
export PERDURE_TERMINAL="$1"
cd ${WORKSPACE} || exit
if command -v bash >/dev/null; then exec bash -i; else exec sh -i; fi
`;
const CLOSE_SCRIPT = `
read -r leader <"/perdure/tmp/.terminal-$1" || exit 0
rm -f "/perdure/tmp/.terminal-$1"
mark=$1
for file in /proc/[0-9]*/stat; do
  { read -r stat <"$file"; } 2>/dev/null || continue
  pid=\${stat%% *}
  set -- \${stat##*) }
  # The leader's number may be another's by now; whatever this terminal has started bears its mark.
  [ "$4" != "$leader" ] || ! grep -q "PERDURE_TERMINAL=$mark" "/proc/$pid/environ" || kill -KILL "$pid"
done
`;

/** Throws SandboxError: `lost` when the container is gone, `failed` when no shell can be run in it. */
export async function openDockerTerminal(
  engine: DockerEngine,
  container: string,
  options: TerminalOptions,
): Promise<Terminal> {
  const mark = options.mark ?? randomBytes(8).toString("hex");
  const variables = { TERM: "xterm-256color", HOME: WORKSPACE, ...options.environment };
  const { id, socket } = await startExec(engine, container, {
    argv: ["sh", "-c", OPEN_SCRIPT, "perdure", mark],
    environment: Object.entries(variables).map(([name, value]) => `${name}=${value}`),
    stdin: true,
    terminal: true,
  });
  const resize = oneAfterAnother(async ({ columns, rows }: ScreenSize) => {
    const request = (docker: Docker): Promise<unknown> => docker.getExec(id).resize({ w: columns, h: rows });
    await engine.call("resize the terminal", request, RESIZE.timeoutMs);
  });
  resize({ columns: options.columns, rows: options.rows });
  return {
    output: untilBroken(socket),
    write: (input) => {
      if (!socket.destroyed) socket.write(input);
    },
    resize: (columns, rows) => resize({ columns, rows }),
    async close() {
      socket.destroy();
      await endDockerTerminal(engine, container, mark);
    },
  };
}

interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/** Only the newest size is wanted, and requests that are under way at once may arrive in any order. One that fails may be too early. */
function oneAfterAnother(send: (size: ScreenSize) => Promise<void>): (size: ScreenSize) => void {
  let wanted: ScreenSize | undefined;
  let isSending = false;
  const sendAll = async (): Promise<void> => {
    for (let failures = 0; wanted && failures < RESIZE.triesMax; ) {
      const size = wanted;
      try {
        await send(size);
        if (wanted === size) wanted = undefined;
      } catch {
        failures += 1; // The shell has not begun yet, or has ended.
        await delay(RESIZE.againMs);
      }
    }
  };
  return (size) => {
    wanted = size;
    if (isSending) return;
    isSending = true;
    void sendAll().finally(() => {
      isSending = false;
    });
  };
}

/** Ends the shell of that mark with all that it has started. One that is gone is no error. */
export async function endDockerTerminal(engine: DockerEngine, container: string, mark: string): Promise<void> {
  try {
    const argv = ["sh", "-c", CLOSE_SCRIPT, "perdure", mark];
    const ending = await createDockerChannel(engine, container).exec(argv, { signal: AbortSignal.timeout(CLOSE_MS) });
    await ending.exit;
  } catch (thrown) {
    // With the container its shells are gone too.
    if (!(thrown instanceof SandboxError)) throw thrown;
  }
}

async function* untilBroken(socket: Duplex): AsyncGenerator<Uint8Array, void, void> {
  try {
    for await (const piece of socket as AsyncIterable<Uint8Array>) yield piece;
  } catch {
    // The shell's end, or that of the connection.
  }
}
