/** One WebSocket of one watcher: its messages parsed and bounded, its reading kept up with or given up, its life asked after. */
import type { RawData, WebSocket } from "ws";
import type { TerminalId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type TerminalNotice, TerminalRequest } from "../contract/terminals.ts";
import type { Database } from "../store/database.ts";
import { putInput, resizeTerminal, takeTerminal } from "../store/terminals.ts";
import type { TerminalWatcher, TerminalWatches } from "./terminal-watches.ts";
import type { Reader, UnreadBytes } from "./unread.ts";

/** Close codes of RFC 6455: all is said; against the rules; too slow, or something else of ours; come back. */
export const CLOSE_CODES = { done: 1000, policy: 1008, internal: 1011, restart: 1012 } as const;
/** Messages that are read ahead while the store takes those before. */
const QUEUE_MAX = 64;

export interface ConnectionPlace {
  readonly terminalId: TerminalId;
  readonly token: string;
  /** It may not become the writer. */
  readonly onlyWatches: boolean;
  readonly database: Database;
  readonly watches: TerminalWatches;
  /** What is unread of all streams and sockets together. */
  readonly unread: UnreadBytes;
  onError(error: unknown): void;
}

export class TerminalConnection implements TerminalWatcher, Reader {
  readonly token: string;
  readonly #socket: WebSocket;
  readonly #place: ConnectionPlace;
  readonly #beat: NodeJS.Timeout;
  #isAlive = true;
  #refusals = 0;
  #queued = 0;
  #work: Promise<void> = Promise.resolve();

  constructor(socket: WebSocket, place: ConnectionPlace) {
    this.#socket = socket;
    this.#place = place;
    this.token = place.token;
    socket.on("message", (data, isBinary) => this.#enqueue(data, isBinary));
    socket.on("pong", () => {
      this.#isAlive = true;
    });
    // A frame that breaks the protocol, or is too large: ws has closed it with the code that says so.
    socket.on("error", () => undefined);
    this.#beat = setInterval(() => this.#askIfAlive(), LIMITS.heartbeatSseMs);
    place.unread.add(this);
    socket.once("close", () => {
      clearInterval(this.#beat);
      place.unread.remove(this);
    });
  }

  get unread(): number {
    return this.#socket.bufferedAmount;
  }

  drop(): void {
    this.#socket.terminate();
  }

  /** Resolves when all that it has sent by now is done. */
  settled(): Promise<void> {
    return this.#work;
  }

  printed(bytes: Uint8Array): void {
    this.#send(bytes);
  }

  writer(isYou: boolean): void {
    this.notice({ type: "writer", you: isYou });
  }

  resized({ columns, rows }: { readonly columns: number; readonly rows: number }): void {
    this.notice({ type: "resized", columns, rows });
  }

  skipped(): void {
    this.notice({ type: "skipped" });
  }

  closed(reason: string): void {
    this.notice({ type: "closed", reason });
    this.#end(this.#place.watches.isDraining ? CLOSE_CODES.restart : CLOSE_CODES.done, "the terminal is closed");
  }

  notice(notice: TerminalNotice): void {
    this.#send(JSON.stringify(notice));
  }

  #send(data: string | Uint8Array): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (this.#socket.bufferedAmount > LIMITS.streamBufferBytes) {
      this.#end(CLOSE_CODES.policy, "you read too slowly; come back to see it as it is then");
      return;
    }
    this.#socket.send(data, { binary: typeof data !== "string" });
    if (this.unread > LIMITS.streamAheadBytes) this.#place.unread.filled();
  }

  #end(code: number, reason: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.close(code, reason);
    // One that does not answer is not waited for.
    setTimeout(() => this.#socket.terminate(), LIMITS.killGraceMs).unref();
  }

  #askIfAlive(): void {
    if (!this.#isAlive) {
      this.#socket.terminate();
      return;
    }
    this.#isAlive = false;
    this.#socket.ping();
  }

  /** In order, one at a time; whoever sends faster than the store takes is read no further meanwhile. */
  #enqueue(data: RawData, isBinary: boolean): void {
    if (++this.#queued >= QUEUE_MAX) this.#socket.pause();
    this.#work = this.#work
      .then(() => this.#take(toBytes(data), isBinary))
      .catch((error: unknown) => {
        this.#place.onError(error);
        this.#end(CLOSE_CODES.internal, "the store cannot be used right now; try again");
      })
      .finally(() => {
        if (--this.#queued < QUEUE_MAX && this.#socket.isPaused) this.#socket.resume();
      });
  }

  async #take(bytes: Uint8Array, isBinary: boolean): Promise<void> {
    if (isBinary) return await this.#type(bytes);
    const parsed = parse(bytes);
    if (parsed === undefined) {
      return this.#refuse('expected a binary frame, or JSON such as {"type":"resize","columns":80,"rows":24}');
    }
    const { database, terminalId, onlyWatches } = this.#place;
    switch (parsed.type) {
      case "input":
        return await this.#type(Buffer.from(parsed.data));
      case "resize":
        if (await resizeTerminal(database, terminalId, { ...parsed, writer: this.token })) return;
        return this.#refuse(NOT_WRITER);
      case "take":
        if (onlyWatches) return this.#refuse("you asked only to watch; connect without watch=true to type");
        return await takeTerminal(database, terminalId, { writer: this.token, ifFree: false });
    }
  }

  async #type(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    const { database, terminalId } = this.#place;
    switch (await putInput(database, terminalId, { writer: this.token, bytes })) {
      case "put":
        return;
      case "not_writer":
        return this.#refuse(NOT_WRITER);
      case "full":
        return this.#refuse("the shell has not yet read what was typed before; this was dropped");
    }
  }

  #refuse(message: string): void {
    this.notice({ type: "refused", message });
    if (++this.#refusals < LIMITS.terminalRefusalsMax) return;
    this.#end(CLOSE_CODES.policy, "too many messages that cannot be used");
  }
}

const NOT_WRITER = 'another is the writer; {"type":"take"} makes you it';

function parse(bytes: Uint8Array): TerminalRequest | undefined {
  try {
    return TerminalRequest.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch {
    return undefined; // The only things thrown here say that it is not what was expected.
  }
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
