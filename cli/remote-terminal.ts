/** A session's terminal in this one: keys go there as they are pressed, and what it prints comes here as it is. */
import { StringDecoder } from "node:string_decoder";
import type { WebSocket } from "ws";
import { TerminalNotice, type TerminalRequest } from "../contract/terminals.ts";
import type { KeyboardInput } from "./chat/keyboard.ts";
import { ClientError, parseJson, reasonOf, refusal, unreachable } from "./client-error.ts";
import { EXIT } from "./exit-codes.ts";
import type { Io } from "./io.ts";
import { safeLine } from "./terminal-text.ts";

export interface TerminalPlace {
  /** Of the API. */
  readonly baseUrl: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly sessionId: string;
  /** An open one; undefined: a new one. */
  readonly terminal?: string;
  /** Only to look. */
  readonly watch: boolean;
}

/** A terminal's screen: process.stdout, or a test's own. */
interface Screen {
  write(text: string): unknown;
  readonly columns?: number;
  readonly rows?: number;
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

/** Ctrl-], as telnet has it: no program of importance is left by it. */
const LEAVE = 0x1d;
const REASON_CHARACTERS = 500;
const CLOSE_MS = 1_000;

/** Resolves with the exit code when the terminal is closed or left. Throws ClientError. */
export async function useTerminal(io: Io, place: TerminalPlace): Promise<number> {
  return await (await connect(io, place)).ended();
}

async function connect(io: Io, place: TerminalPlace): Promise<RemoteTerminal> {
  const { columns, rows }: Screen = io.stdout;
  const { baseUrl, headers = {}, sessionId, terminal, watch } = place;
  const query = new URLSearchParams({
    ...(terminal !== undefined && { terminal }),
    ...(watch && { watch: "true" }),
    ...(columns !== undefined && { columns: String(columns) }),
    ...(rows !== undefined && { rows: String(rows) }),
  });
  const { WebSocket: Socket } = await import("ws");
  const url = `${baseUrl.replace(/^http/, "ws")}/v1/sessions/${encodeURIComponent(sessionId)}/terminal?${query}`;
  const socket = new Socket(url, { perMessageDeflate: false, headers });
  return await new Promise((resolve, reject) => {
    // At once: what is sent first may be here already.
    socket.once("open", () => resolve(new RemoteTerminal(io, socket)));
    socket.once("error", (error) => reject(unreachable(baseUrl, error)));
    socket.once("unexpected-response", (_request, response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.once("end", () => {
        socket.terminate();
        reject(refusal(response.statusCode ?? 0, Buffer.concat(pieces).toString(), baseUrl));
      });
    });
  });
}

class RemoteTerminal {
  readonly #io: Io;
  readonly #screen: Screen;
  readonly #keys: KeyboardInput;
  readonly #socket: WebSocket;
  readonly #text = new StringDecoder("utf8");
  readonly #end = Promise.withResolvers<number>();
  #isWriter = false;

  constructor(io: Io, socket: WebSocket) {
    this.#io = io;
    this.#screen = io.stdout;
    this.#keys = io.stdin;
    this.#socket = socket;
    socket.on("message", (data, isBinary) => {
      if (isBinary) this.#screen.write(this.#text.write(data as Buffer));
      else this.#hear(TerminalNotice.safeParse(parseJson(data.toString())).data);
    });
    socket.on("error", (error) =>
      this.#end.reject(new ClientError("foreign", `the terminal broke: ${reasonOf(error)}`)),
    );
    socket.on("close", (code, reason) => this.#lost(code, reason.toString()));
    this.#end.promise.catch(() => undefined); // Whoever awaits it hears of it.
  }

  async ended(): Promise<number> {
    const onKeys = (keys: Buffer | string): void => this.#press(Buffer.from(keys));
    const onResize = (): void => this.#resize();
    const leave = (): void => this.#end.resolve(EXIT.detached);
    this.#keys.setRawMode?.(true);
    this.#keys.on("data", onKeys).once("end", leave).resume();
    this.#screen.on?.("resize", onResize);
    this.#tell("connected; Ctrl-] leaves it open");
    try {
      return await this.#end.promise;
    } finally {
      this.#screen.off?.("resize", onResize);
      this.#keys.off("data", onKeys).off("end", leave).pause();
      this.#keys.setRawMode?.(false);
      await this.#close();
    }
  }

  /** What was typed last is still to be sent; a server that does not answer is not waited for. */
  async #close(): Promise<void> {
    if (this.#socket.readyState === this.#socket.CLOSED) return;
    const closed = new Promise((resolve) => this.#socket.once("close", resolve));
    const cut = setTimeout(() => this.#socket.terminate(), CLOSE_MS);
    this.#socket.close();
    await closed;
    clearTimeout(cut);
  }

  #press(keys: Buffer): void {
    const at = keys.indexOf(LEAVE);
    const typed = at < 0 ? keys : keys.subarray(0, at);
    if (typed.length > 0 && this.#socket.readyState === this.#socket.OPEN) this.#socket.send(typed);
    if (at < 0) return;
    this.#tell("left; the terminal stays open for a while");
    this.#end.resolve(EXIT.detached);
  }

  /** The writer's screen counts. */
  #resize(): void {
    const { columns, rows } = this.#screen;
    if (!this.#isWriter || columns === undefined || rows === undefined) return;
    this.#say({ type: "resize", columns, rows });
  }

  #hear(notice: TerminalNotice | undefined): void {
    switch (notice?.type) {
      case "writer":
        if (notice.you === this.#isWriter) return;
        this.#isWriter = notice.you;
        if (notice.you) this.#resize();
        else this.#tell("somebody else is the writer now");
        return;
      case "skipped":
        this.#tell("something that was printed here was lost");
        return;
      case "refused":
        this.#tell(notice.message);
        return;
      case "closed":
        this.#tell(`closed: ${notice.reason}`);
        this.#end.resolve(EXIT.completed);
        return;
      default: // What it is, and how large: it is this screen that says so. A notice of a newer API is none of ours.
    }
  }

  #lost(code: number, reason: string): void {
    const why = reason === "" ? `code ${code}` : reason;
    this.#end.reject(new ClientError("unreachable", `the connection was lost (${safeLine(why, REASON_CHARACTERS)})`));
  }

  #say(request: TerminalRequest): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(request));
  }

  /** On a line of its own, also where the terminal's lines are raw. */
  #tell(words: string): void {
    this.#io.stderr.write(`\r\n[perdure: ${safeLine(words, REASON_CHARACTERS)}]\r\n`);
  }
}
