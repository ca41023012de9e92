/** The exec of a sandbox at Modal as a channel: binary pipes with back-pressure, and an end that is known even if Modal is not asked. */
import type { ContainerProcess } from "modal";
import type { ModalLink } from "./modal-link.ts";
import { SandboxError } from "./provider.ts";
import type { ExecChannel, RemoteProcess } from "./remote/channel.ts";

/** Of one write to a program: Modal carries each in a message of its own. */
const WRITE_BYTES = 512 * 1024;

export interface ModalChannel extends ExecChannel {
  /** Drops what still runs over it. */
  close(): void;
}

export function createModalChannel(link: ModalLink): ModalChannel {
  const open = new Set<RemoteProcess>();
  return {
    async exec(argv, { stdin = false, signal } = {}) {
      if (signal?.aborted) throw aborted();
      let isAwaited = true;
      const started = link.use("start a program in the sandbox", async (handle) => {
        // Without a time limit: for each stream that is left before its end, the SDK would keep a timer until then.
        const begun = await handle.exec([...argv], { mode: "binary" });
        // Nobody waits any more, so nobody would ever end it.
        if (!isAwaited) void begun.closeStdin();
        return begun;
      });
      const begun = await unlessAborted(started, signal).catch((error: unknown) => {
        isAwaited = false;
        throw error;
      });
      const process = remoteProcess(begun, link, { hasInput: stdin, onEnd: (ended) => open.delete(ended) });
      open.add(process);
      signal?.addEventListener("abort", process.kill, { once: true });
      if (signal?.aborted) process.kill();
      return process;
    },
    close() {
      for (const process of open) process.kill();
    },
  };
}

interface ProcessOptions {
  readonly hasInput: boolean;
  readonly onEnd: (process: RemoteProcess) => void;
}

function remoteProcess(begun: ContainerProcess<Uint8Array>, link: ModalLink, options: ProcessOptions): RemoteProcess {
  const dropped = new AbortController();
  const stdout = begun.stdout.getReader();
  const stderr = begun.stderr.getReader();
  const input = begun.stdin.getWriter();
  input.closed.catch(() => {}); // Each write says it itself.
  let exit: Promise<number> | undefined;
  /** Why the program did not get its input: who reads its output hears of it too. */
  let failed: SandboxError | undefined;
  if (!options.hasInput) void begun.closeStdin();

  async function* chunks(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        const { done, value } = await link.hold(reader.read());
        if (!done) yield value;
        else if (failed !== undefined) throw failed;
        // A program ends, or all of them with the sandbox: the stream looks the same.
        else return dropped.signal.aborted ? undefined : await link.confirm();
      }
    } catch (error) {
      if (dropped.signal.aborted && error !== failed) return;
      throw await link.failure(error, "read what a program printed");
    } finally {
      reader.cancel().catch(() => {});
      if (reader === stdout) options.onEnd(process);
    }
  }

  const process: RemoteProcess = {
    stdout: chunks(stdout),
    stderr: chunks(stderr),
    async write(bytes) {
      try {
        for (let at = 0; at < bytes.length; at += WRITE_BYTES) {
          await link.hold(input.write(bytes.subarray(at, at + WRITE_BYTES)));
        }
      } catch (error) {
        failed = await link.failure(error, "write to a program");
        throw failed;
      }
    },
    async end() {
      try {
        await link.hold(input.close());
      } catch (error) {
        throw await link.failure(error, "close a program's input");
      }
    },
    // Asked for only when somebody wants to know: waiting for it holds the connection.
    get exit() {
      exit ??= waitFor();
      exit.catch(() => {});
      return exit;
    },
    kill() {
      if (dropped.signal.aborted) return;
      dropped.abort();
      for (const reader of [stdout, stderr]) reader.cancel().catch(() => {});
      // Modal has no kill; a program that reads its input ends with it.
      void begun.closeStdin();
      options.onEnd(process);
    },
  };
  async function waitFor(): Promise<number> {
    try {
      // `wait` goes on for ever where the sandbox is gone; its inner form stops on a signal.
      return await link.hold(begun._wait(dropped.signal));
    } catch (error) {
      if (dropped.signal.aborted) throw aborted();
      throw await link.failure(error, "tell how a program ended");
    }
  }
  return process;
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted());
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function aborted(): SandboxError {
  return new SandboxError("failed", "the connection to the sandbox was dropped");
}
