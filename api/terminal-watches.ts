/**
 * The terminals that are watched through this process: what each prints is read once, for all who watch it.
 *
 * Nothing is looked at while nobody watches. What a process remembers of a terminal may be lost: it is read from the rows again.
 */
import type { TerminalId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "../store/database.ts";
import {
  closeTerminal,
  findTerminal,
  noteWatched,
  outputAfter,
  type ScreenSize,
  type TerminalFrame,
  type TerminalRecord,
} from "../store/terminals.ts";

/** One who watches. None of these throws. */
export interface TerminalWatcher {
  /** Names it as a writer. */
  readonly token: string;
  printed(bytes: Uint8Array): void;
  writer(isYou: boolean): void;
  resized(size: ScreenSize): void;
  /** Something was printed that is kept no longer. */
  skipped(): void;
  /** Nothing comes after this. */
  closed(reason: string): void;
}

interface Watched {
  readonly watchers: Set<TerminalWatcher>;
  /** Those who are about to be among them. */
  joining: number;
  readonly frames: TerminalFrame[];
  row: TerminalRecord;
  last: number;
  /** Whether what was printed before is known. */
  isRead: boolean;
  bytes: number;
}

export class TerminalWatches implements AsyncDisposable {
  readonly #database: Database;
  readonly #onError: (error: unknown) => void;
  readonly #watched = new Map<TerminalId, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #version = -1;
  #notedAt = 0;
  #looking: Promise<void> = Promise.resolve();
  #isDraining = false;

  constructor(database: Database, onError: (error: unknown) => void) {
    this.#database = database;
    this.#onError = onError;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  watchersOf(id: TerminalId): number {
    return this.#watched.get(id)?.watchers.size ?? 0;
  }

  /** Tells the watcher what was printed before, as far as it is kept, and from then on all that happens. */
  async join(row: TerminalRecord, watcher: TerminalWatcher): Promise<void> {
    const watched = this.#watched.get(row.id) ?? this.#add(row);
    watched.joining++;
    try {
      if (!watched.isRead) await this.#read(row.id, watched);
    } finally {
      watched.joining--;
    }
    // Nothing is awaited from here on, so nothing is missed and nothing told twice.
    for (const { bytes } of watched.frames) watcher.printed(bytes);
    watcher.writer(watched.row.writer === watcher.token);
    watched.watchers.add(watcher);
    if (watched.row.state === "closed") this.#closed(row.id, watched);
    this.#version = -1;
    this.#notedAt = 0;
    this.#schedule();
  }

  leave(id: TerminalId, watcher: TerminalWatcher): void {
    const watched = this.#watched.get(id);
    watched?.watchers.delete(watcher);
    if (watched?.watchers.size === 0 && watched.joining === 0) this.#watched.delete(id);
  }

  /** Looks now: somebody has written in this process. */
  poke(): void {
    this.#version = -1;
  }

  /** Ends every watching, in words: the terminals stay open, and whoever watched can come back to the next process. */
  drain(): void {
    this.#isDraining = true;
    for (const { watchers } of this.#watched.values()) {
      for (const watcher of watchers) watcher.closed("this server is going down; the terminal stays open, come back");
    }
    this.#watched.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.drain();
    await this.#looking;
  }

  #add(row: TerminalRecord): Watched {
    const watched: Watched = { watchers: new Set(), joining: 0, frames: [], row, last: 0, isRead: false, bytes: 0 };
    this.#watched.set(row.id, watched);
    return watched;
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#looking = this.#look()
        .catch((error: unknown) => {
          this.#version = -1;
          this.#onError(error);
        })
        .finally(() => {
          this.#timer = undefined;
          if (this.#watched.size > 0) this.#schedule();
        });
    }, LIMITS.tailEveryMs);
  }

  async #look(): Promise<void> {
    const now = Date.now();
    const version = this.#database.dataVersion();
    if (version !== this.#version) {
      this.#version = version;
      for (const [id, watched] of [...this.#watched]) await this.#read(id, watched);
    }
    if (now - this.#notedAt < LIMITS.terminalNotedEveryMs) return;
    this.#notedAt = now;
    for (const { row } of this.#watched.values()) if (now - row.servedAt > LIMITS.terminalLostMs) await this.#lost(row);
    await noteWatched(this.#database, [...this.#watched.keys()]);
  }

  /** Its worker would have said that it is there. */
  #lost({ sessionId, id }: TerminalRecord): Promise<void> {
    return closeTerminal(this.#database, { sessionId, terminalId: id }, "the worker that served it is gone");
  }

  async #read(id: TerminalId, watched: Watched): Promise<void> {
    // The row first: a terminal that it says is closed prints nothing more.
    const row = await findTerminal(this.#database, id);
    const frames = await outputAfter(this.#database, id, watched.last);
    const before = watched.row;
    if (watched.isRead && (frames[0]?.number ?? watched.last + 1) > watched.last + 1) {
      for (const watcher of watched.watchers) watcher.skipped();
    }
    for (const frame of frames) {
      if (frame.number <= watched.last) continue;
      this.#keep(watched, frame);
      for (const watcher of watched.watchers) watcher.printed(frame.bytes);
    }
    watched.isRead = true;
    watched.row = row ?? { ...before, state: "closed", reason: "its session is gone" };
    if (watched.row.state === "closed") return this.#closed(id, watched); // Nobody is its writer any more, which says nothing.
    for (const watcher of watched.watchers) this.#tell(watcher, before, watched.row);
  }

  #tell(watcher: TerminalWatcher, before: TerminalRecord, now: TerminalRecord): void {
    const was = before.writer === watcher.token;
    const is = now.writer === watcher.token;
    if (was !== is) watcher.writer(is);
    if (before.columns !== now.columns || before.rows !== now.rows) watcher.resized(now);
  }

  #closed(id: TerminalId, { watchers, row }: Watched): void {
    if (watchers.size > 0 || this.#watched.get(id)?.joining === 0) this.#watched.delete(id);
    for (const watcher of watchers) watcher.closed(row.reason ?? "it was closed");
    watchers.clear();
  }

  #keep(watched: Watched, frame: TerminalFrame): void {
    watched.last = frame.number;
    watched.frames.push(frame);
    watched.bytes += frame.bytes.length;
    while (watched.bytes > LIMITS.terminalKeptBytes) watched.bytes -= watched.frames.shift()?.bytes.length ?? 0;
  }
}
