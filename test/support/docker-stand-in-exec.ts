/** A program that was asked of the stand-in engine: its streams in frames over one connection, its exit code afterwards. */
import type { ChildProcess } from "node:child_process";
import type { Duplex } from "node:stream";
import type { StandInContainer } from "./docker-stand-in-container.ts";

export interface ExecWish {
  readonly Cmd: readonly string[];
  readonly Env?: readonly string[];
  readonly AttachStdin?: boolean;
  readonly AttachStderr?: boolean;
}

const SIGNALLED = 137;

export class StandInExec {
  readonly #container: StandInContainer;
  readonly #wish: ExecWish;
  #socket: Duplex | undefined;
  /** Null until it has ended. */
  exitCode: number | null = null;

  constructor(container: StandInContainer, wish: ExecWish) {
    this.#container = container;
    this.#wish = wish;
  }

  start(socket: Duplex): void {
    this.#socket = socket;
    const child = this.#container.run(this.#wish.Cmd, this.#wish.Env ?? []);
    child.on("error", () => this.#end(127));
    child.on("close", (code) => this.#end(code ?? SIGNALLED));
    this.#connect(child, socket);
  }

  drop(): void {
    this.#socket?.destroy();
  }

  #connect(child: ChildProcess, socket: Duplex): void {
    const { stdin, stdout, stderr } = child;
    if (stdin === null || stdout === null || stderr === null) return;
    stdin.on("error", () => undefined);
    socket.on("error", () => undefined);
    // As the engine does: what was connected goes on without its connection, with nothing more to read.
    socket.on("close", () => {
      stdin.end();
      stdout.resume();
    });
    if (this.#wish.AttachStdin) socket.pipe(stdin);
    else {
      socket.resume();
      stdin.end();
    }
    for (const [number, stream] of [
      [1, stdout],
      [2, stderr],
    ] as const) {
      if (number === 2 && !this.#wish.AttachStderr) stream.resume();
      else
        stream.on("data", (piece: Buffer) => {
          if (socket.destroyed) return;
          if (socket.write(framed(number, piece))) return;
          stream.pause();
          socket.once("drain", () => stream.resume());
        });
    }
  }

  #end(code: number): void {
    this.exitCode ??= code;
    if (!this.#socket?.destroyed) this.#socket?.end();
  }
}

function framed(stream: number, piece: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(piece.length, 4);
  return Buffer.concat([header, piece]);
}
