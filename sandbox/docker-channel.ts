/** Programs in a container, by the engine's `exec`: the pipes of one come in frames over one connection. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { type DockerEngine, DockerError } from "./docker-engine.ts";
import { SandboxError } from "./provider.ts";
import { writeAll } from "./remote/back-pressure.ts";
import type { ExecChannel, RemoteProcess } from "./remote/channel.ts";

/** What the engine may take to start a program. */
const EXEC_MS = 30_000;
const HEADER_BYTES = 8;
const DYING_TRIES = 5;
const DYING_EVERY_MS = 100;
const EXIT_TRIES = 40;
const EXIT_EVERY_MS = 25;

export interface DockerExec {
  readonly argv: readonly string[];
  readonly stdin: boolean;
  /** With a terminal, whose output is not framed. */
  readonly terminal?: boolean;
  readonly environment?: readonly string[];
}

/** A running exec: its connection, and its id at the engine. */
export interface StartedExec {
  readonly id: string;
  readonly socket: Duplex;
}

/** `container`: its id, as a name may be another's by now. */
export function createDockerChannel(engine: DockerEngine, container: string): ExecChannel {
  return {
    async exec(argv, { stdin = false, signal } = {}) {
      signal?.throwIfAborted();
      const started = await startExec(engine, container, { argv, stdin });
      const process = remoteProcess(engine, started);
      if (signal?.aborted) process.kill();
      signal?.addEventListener("abort", () => process.kill(), { once: true });
      return process;
    },
  };
}

/** Throws SandboxError: `lost` when the container is gone or does not run, `failed` otherwise. */
export async function startExec(engine: DockerEngine, container: string, exec: DockerExec): Promise<StartedExec> {
  const { argv, stdin, terminal = false, environment = [] } = exec;
  try {
    const made = await engine.call(
      "run a program in the container",
      (docker) =>
        docker.getContainer(container).exec({
          ...{ Cmd: [...argv], Env: [...environment], User: "0:0", Tty: terminal },
          ...{ AttachStdin: stdin, AttachStdout: true, AttachStderr: terminal },
        }),
      EXEC_MS,
    );
    const socket = await engine.call(
      "run a program in the container",
      () => made.start({ hijack: true, stdin: true, Tty: terminal }),
      EXEC_MS,
    );
    socket.on("error", () => undefined); // Whoever reads or writes is told.
    if (!stdin) socket.end();
    return { id: made.id, socket };
  } catch (thrown) {
    throw await whyRefused(engine, container, thrown);
  }
}

async function whyRefused(engine: DockerEngine, container: string, thrown: unknown): Promise<SandboxError> {
  if (!(thrown instanceof DockerError)) {
    return thrown instanceof SandboxError
      ? thrown
      : new SandboxError("failed", "no program could be run", { cause: thrown });
  }
  // A container that dies is still said to run for a moment.
  for (let tries = DYING_TRIES; tries > 0; tries--) {
    const state = await stateOf(engine, container);
    if (state === undefined || (state !== "unknown" && (!state.Running || state.Paused))) {
      return new SandboxError("lost", `the sandbox's container ${state ? "does not run" : "is gone"}`, {
        cause: thrown,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, DYING_EVERY_MS));
  }
  return new SandboxError("failed", `no program could be run in the sandbox: ${thrown.said}`, { cause: thrown });
}

async function stateOf(
  engine: DockerEngine,
  container: string,
): Promise<{ readonly Running: boolean; readonly Paused: boolean } | undefined | "unknown"> {
  try {
    const inspected = await engine.call(
      "tell of the container",
      (docker) => docker.getContainer(container).inspect(),
      EXEC_MS,
    );
    return inspected.State;
  } catch (thrown) {
    return thrown instanceof DockerError && thrown.status === 404 ? undefined : "unknown";
  }
}

function remoteProcess(engine: DockerEngine, { id, socket }: StartedExec): RemoteProcess {
  let exit: Promise<number> | undefined;
  return {
    stdout: unframed(socket),
    stderr: (async function* () {})(), // Not attached: it is dropped where it comes from.
    write: (bytes) => writeAll(socket, bytes),
    async end() {
      socket.end();
    },
    get exit() {
      exit ??= exitCode(engine, id, socket);
      exit.catch(() => undefined);
      return exit;
    },
    kill: () => socket.destroy(),
  };
}

/** The frames' content; each has a header with the stream's number and its length. */
async function* unframed(socket: Duplex): AsyncGenerator<Uint8Array, void, void> {
  let pending: Buffer = Buffer.alloc(0);
  let left = 0;
  for await (const piece of socket as AsyncIterable<Uint8Array>) {
    pending =
      pending.length === 0
        ? Buffer.from(piece.buffer, piece.byteOffset, piece.length)
        : Buffer.concat([pending, piece]);
    while (pending.length > 0) {
      if (left === 0) {
        if (pending.length < HEADER_BYTES) break;
        if ((pending[0] ?? 9) > 2) throw new SandboxError("failed", "the engine's answer is not understood");
        left = pending.readUInt32BE(4);
        pending = pending.subarray(HEADER_BYTES);
        continue;
      }
      const content = pending.subarray(0, left);
      left -= content.length;
      pending = pending.subarray(content.length);
      yield content;
    }
  }
}

async function exitCode(engine: DockerEngine, id: string, socket: Duplex): Promise<number> {
  if (!socket.destroyed && !socket.readableEnded) {
    // Somebody else may be reading; what nobody reads must not keep the end from coming.
    if (socket.readableFlowing === null && socket.listenerCount("readable") === 0) socket.resume();
    await Promise.race([once(socket, "end"), once(socket, "close")]).catch(() => undefined);
  }
  for (let tries = EXIT_TRIES; tries > 0; tries--) {
    const { ExitCode } = await engine.call("tell of a program", (docker) => docker.getExec(id).inspect(), EXEC_MS);
    if (ExitCode !== null && ExitCode !== undefined) return ExitCode;
    await new Promise((resolve) => setTimeout(resolve, EXIT_EVERY_MS));
  }
  throw new SandboxError("failed", "the program goes on, but its connection is gone");
}
