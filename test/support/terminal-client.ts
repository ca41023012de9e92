/** A watcher of a terminal: a WebSocket that remembers all that it was sent. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { TerminalNotice } from "../../contract/terminals.ts";

export interface Refusal {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export class TerminalClient implements AsyncDisposable {
  readonly notices: TerminalNotice[] = [];
  /** The code that it was closed with. */
  closeCode: number | undefined;
  readonly #socket: WebSocket;
  #printed = "";
  readonly #waiting = new Set<() => void>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data, isBinary) => {
      if (isBinary) this.#printed += Buffer.from(data as Buffer).toString("latin1");
      else this.notices.push(TerminalNotice.parse(JSON.parse(data.toString())));
      this.#wake();
    });
    socket.on("close", (code) => {
      this.closeCode = code;
      this.#wake();
    });
    socket.on("error", () => undefined); // It is closed then, which is what tests look at.
  }

  /** What was printed, as latin1: no byte is lost at the end of a piece. */
  get printed(): string {
    return this.#printed;
  }

  get id(): string {
    const opened = this.notices[0];
    if (opened?.type !== "opened") throw new Error("the terminal has not been opened");
    return opened.terminalId;
  }

  /** Whether it was last told that it is the writer. */
  get isWriter(): boolean {
    return this.notices.findLast((notice) => notice.type === "writer")?.you ?? false;
  }

  get closedReason(): string | undefined {
    return this.notices.find((notice) => notice.type === "closed")?.reason;
  }

  get refusals(): readonly string[] {
    return this.notices.flatMap((notice) => (notice.type === "refused" ? [notice.message] : []));
  }

  type(text: string): void {
    this.#socket.send(Buffer.from(text));
  }

  say(message: unknown): void {
    this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Stops reading, as a client does that hangs. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  async until(what: string, holds: (client: this) => boolean, deadlineMs = 8_000): Promise<void> {
    const deadline = AbortSignal.timeout(deadlineMs);
    while (!holds(this)) {
      await new Promise<void>((resolve, reject) => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          if (!deadline.aborted) {
            resolve();
            return;
          }
          const seen = `${JSON.stringify(this.notices)}, ${JSON.stringify(this.#printed.slice(-500))}`;
          reject(new Error(`waited ${deadlineMs} ms in vain until ${what}; there were ${seen}`));
        };
        this.#waiting.add(wake);
        deadline.addEventListener("abort", wake, { once: true });
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    this.#socket.terminate();
    if (this.closeCode === undefined) await once(this.#socket, "close");
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

/** Connects, or gives the answer that it got instead. */
export async function askForTerminal(
  apiUrl: string,
  route: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<TerminalClient | Refusal> {
  const socket = new WebSocket(`${apiUrl.replace("http", "ws")}${route}`, { headers: { ...headers } });
  const client = new TerminalClient(socket);
  return await new Promise((resolve, reject) => {
    socket.once("open", () => resolve(client));
    socket.once("unexpected-response", (_request, response: IncomingMessage) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => {
        socket.terminate();
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(pieces).toString()) });
      });
    });
    socket.once("error", reject);
  });
}

/** Of a world, or of an API that asks nobody for a token. */
export async function openTerminalClient(
  api: { readonly url: string; readonly headers?: Readonly<Record<string, string>> },
  sessionId: string,
  query = "",
): Promise<TerminalClient> {
  const answer = await askForTerminal(api.url, `/v1/sessions/${sessionId}/terminal${query}`, api.headers);
  if (answer instanceof TerminalClient) return answer;
  throw new Error(`the terminal was refused: ${JSON.stringify(answer)}`);
}
