/** Callers who send or read only half: bytes on a socket, from any of this machine's own addresses. */
import { connect, type Socket } from "node:net";

export interface Half {
  readonly socket: Socket;
  /** What it was answered, as far as it reads. */
  readonly answer: () => string;
  readonly isClosed: () => boolean;
}

export interface HalfOptions {
  /** Another caller has another one: 127.0.0.2. */
  readonly from?: string;
  /** false: it takes nothing of its answer. */
  readonly reads?: boolean;
}

/** All of them end with it. */
export class HalfClients implements Disposable {
  readonly #port: number;
  readonly #sockets: Socket[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  /** A connection that has sent this. */
  open(text: string, { from = "127.0.0.1", reads = true }: HalfOptions = {}): Half {
    const socket = connect({ port: this.#port, host: "127.0.0.1", localAddress: from });
    let answer = "";
    let isClosed = false;
    socket.on("error", () => undefined);
    socket.once("close", () => {
      isClosed = true;
    });
    if (reads) {
      socket.on("data", (bytes) => {
        answer += bytes.toString("latin1");
      });
    } else {
      socket.pause();
    }
    socket.write(text);
    this.#sockets.push(socket);
    return { socket, answer: () => answer, isClosed: () => isClosed };
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }
}

export function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`;
}

export function post(length: number, headers: readonly string[] = []): string {
  const all = ["POST /v1/sessions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", ...headers];
  return `${[...all, `Content-Length: ${length}`].join("\r\n")}\r\n\r\n`;
}
