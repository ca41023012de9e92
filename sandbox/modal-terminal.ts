/** An interactive shell in a sandbox at Modal. The SDK cannot resize a terminal, so the sandbox does it itself. */
import { randomUUID } from "node:crypto";
import { LIMITS } from "../contract/limits.ts";
import type { ModalChannel } from "./modal-channel.ts";
import type { ModalLink } from "./modal-link.ts";
import type { Terminal, TerminalOptions } from "./provider.ts";
import { SandboxError } from "./provider.ts";

/** `sh -c … perdure <mark> <rows> <columns> <workspace>`: leaves its process id under the mark, and becomes the shell. */
const SHELL_SCRIPT = `
umask 077
stty rows "$2" cols "$3" 2>/dev/null
echo $$ >"/tmp/$1"
cd "$4" || cd /
export HOME="$4" PERDURE_TERMINAL="$1"
command -v bash >/dev/null 2>&1 && exec bash -i
exec sh -i
`;
/** `… <mark> <rows> <columns>`. By the shell's own descriptor: the terminal's name may mean nothing to another process. */
const RESIZE_SCRIPT = `
read -r pid <"/tmp/$1" && exec stty rows "$2" cols "$3" <"/proc/$pid/fd/0"
`;
/** Whatever the shell has started bears the mark in its environment. */
const CLOSE_SCRIPT = `
read -r pid <"/tmp/$1" && kill -HUP "$pid" 2>/dev/null
rm -f "/tmp/$1"
for round in 1 2 3; do
  for one in /proc/[0-9]*; do
    grep -q "PERDURE_TERMINAL=$1" "$one/environ" 2>/dev/null && kill -KILL "\${one#/proc/}" 2>/dev/null
  done
done
true
`;

export interface ModalTerminalDeps {
  readonly link: ModalLink;
  readonly channel: ModalChannel;
  readonly workspace: string;
}

const markFile = (mark: string): string => `.perdure-terminal-${mark}`;

/** Ends the shell of that mark with all that it has started. One that is gone is no error. */
export async function endModalTerminal(channel: ModalChannel, mark: string): Promise<void> {
  await (await channel.exec(["sh", "-c", CLOSE_SCRIPT, "perdure", markFile(mark)])).exit;
}

/** Throws SandboxError `lost` or `failed`. */
export async function openModalTerminal(deps: ModalTerminalDeps, options: TerminalOptions): Promise<Terminal> {
  const { link, channel, workspace } = deps;
  const mark = markFile(options.mark ?? randomUUID());
  const size = (rows: number, columns: number) => [String(bounded(rows)), String(bounded(columns))];
  const begun = await link.use("open a terminal", (handle) =>
    handle.exec(["sh", "-c", SHELL_SCRIPT, "perdure", mark, ...size(options.rows, options.columns), workspace], {
      ...{ mode: "binary", pty: true },
      env: { ...options.environment },
    }),
  );
  const reader = begun.stdout.getReader();
  const input = begun.stdin.getWriter();
  input.closed.catch(() => {}); // The output ends too, and that is seen.
  let isClosed = false;
  let waitingBytes = 0;
  /** One after the other: the last size is the one that stays. */
  let resizing = Promise.resolve();

  async function runInside(script: string, ...words: string[]): Promise<void> {
    await (await channel.exec(["sh", "-c", script, "perdure", mark, ...words])).exit;
  }
  async function* output(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const { done, value } = await link.hold(reader.read());
        if (done) return;
        yield value;
      }
    } catch (error) {
      if (!isClosed) throw await link.failure(error, "read what the terminal printed");
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  return {
    output: output(),
    write(bytes) {
      // What a shell that reads nothing is given is not kept for ever: a terminal drops it too.
      if (isClosed || waitingBytes + bytes.length > LIMITS.commandInputBytesMax) return;
      waitingBytes += bytes.length;
      const written = () => {
        waitingBytes -= bytes.length;
      };
      input.write(Uint8Array.from(bytes)).then(written, () => {});
    },
    resize(columns, rows) {
      resizing = resizing
        .then(() => (isClosed ? undefined : runInside(RESIZE_SCRIPT, ...size(rows, columns))))
        .catch(() => {});
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      try {
        await runInside(CLOSE_SCRIPT);
      } catch (error) {
        // With the sandbox the shell is gone too.
        if (!(error instanceof SandboxError) || error.kind !== "lost") throw error;
      } finally {
        reader.cancel().catch(() => {});
      }
    },
  };
}

const bounded = (cells: number): number => Math.min(Math.max(Math.trunc(cells) || 1, 1), 1_000);
