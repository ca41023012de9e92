/**
 * Live event logs: one tail per session and process, however many readers.
 *
 * A tail keeps the newest rows of its session. A reader asks for what comes after its seq: near the end it is answered
 * from memory, further back from the database; so a slow reader costs a query, never a growing buffer.
 */
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "./database.ts";
import { type EventRow, eventJson, eventsAfter } from "./event-log.ts";

/** A stored event with its JSON, made once for all readers. */
export interface TailedEvent {
  readonly seq: number;
  readonly json: string;
}

/** One session's live log, held by one reader; dispose it when the reader leaves. */
export interface LiveLog extends Disposable {
  /** Events after a seq, oldest first, at most a page; empty when there are none yet. */
  after(seq: number, rowsMax?: number): Promise<readonly TailedEvent[]>;
  /** Resolves when there is an event after `seq`, or when the signal aborts. */
  changed(seq: number, signal: AbortSignal): Promise<void>;
}

interface Session {
  readonly id: SessionId;
  readers: number;
  lastSeq: number;
  /** The newest events, without a gap, ending at lastSeq. */
  recent: TailedEvent[];
  /** Of their JSON. */
  recentCharacters: number;
  readonly waiting: Set<() => void>;
}

const RECENT_MAX = 2_000;

export class EventTail implements AsyncDisposable {
  readonly #database: Database;
  readonly #onError: (error: unknown) => void;
  readonly #sessions = new Map<SessionId, Session>();
  #timer: NodeJS.Timeout | undefined;
  #version = -1;
  #checking: Promise<void> | undefined;
  #again = false;

  constructor(database: Database, onError: (error: unknown) => void) {
    this.#database = database;
    this.#onError = onError;
  }

  /** Opens the live log of a session. It need not exist yet. */
  open(sessionId: SessionId): LiveLog {
    const session = this.#sessions.get(sessionId) ?? this.#add(sessionId);
    session.readers++;
    let open = true;
    return {
      after: (seq, rowsMax) => this.#after(session, seq, rowsMax),
      changed: (seq, signal) => this.#changed(session, seq, signal),
      [Symbol.dispose]: () => {
        if (!open) return;
        open = false;
        if (--session.readers === 0) this.#sessions.delete(sessionId);
      },
    };
  }

  /** Looks now. For a writer in this process, whose readers need not wait for the next tick. */
  poke(): void {
    this.#version = -1;
    this.#check();
  }

  [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#sessions.clear();
    return this.#checking ?? Promise.resolve();
  }

  #add(sessionId: SessionId): Session {
    const session: Session = {
      id: sessionId,
      readers: 0,
      lastSeq: -1,
      recent: [],
      recentCharacters: 0,
      waiting: new Set(),
    };
    this.#sessions.set(sessionId, session);
    this.#version = -1;
    this.#schedule();
    return session;
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#sessions.size === 0) return;
      this.#check();
      this.#schedule();
    }, LIMITS.tailEveryMs);
  }

  #check(): void {
    if (this.#checking !== undefined) {
      this.#again = true;
      return;
    }
    try {
      const version = this.#database.dataVersion();
      if (version === this.#version) return;
      this.#version = version;
    } catch (error) {
      this.#onError(error);
      return;
    }
    this.#checking = this.#load()
      .catch((error: unknown) => {
        this.#version = -1; // So that the next tick tries again.
        this.#onError(error);
      })
      .finally(() => {
        this.#checking = undefined;
        if (!this.#again) return;
        this.#again = false;
        this.#check();
      });
  }

  async #load(): Promise<void> {
    const ids = [...this.#sessions.keys()];
    const CHUNK = 500;
    for (let start = 0; start < ids.length; start += CHUNK) {
      const rows = await this.#database.read
        .selectFrom("sessions")
        .select(["id", "last_seq"])
        .where("id", "in", ids.slice(start, start + CHUNK))
        .execute();
      for (const row of rows) {
        const session = this.#sessions.get(row.id);
        if (session && row.last_seq > session.lastSeq) await this.#advance(session, row.last_seq);
      }
    }
  }

  async #advance(session: Session, lastSeq: number): Promise<void> {
    // The first look only learns where the log ends: its readers page up to there by themselves.
    if (session.lastSeq < 0) session.lastSeq = lastSeq;
    while (session.lastSeq < lastSeq) {
      const page = { after: session.lastSeq, limit: LIMITS.eventsPerPage.max };
      const rows = await eventsAfter(this.#database, session.id, page);
      const last = rows.at(-1);
      if (!last) break;
      for (const row of rows) keep(session, tailed(row));
      session.lastSeq = last.seq;
      forget(session);
    }
    for (const wake of [...session.waiting]) wake();
  }

  async #after(
    session: Session,
    seq: number,
    rowsMax: number = LIMITS.eventsPerPage.default,
  ): Promise<readonly TailedEvent[]> {
    const first = session.recent[0];
    if (first && seq >= first.seq - 1)
      return session.recent.slice(seq - first.seq + 1, seq - first.seq + 1 + LIMITS.eventsPerPage.max);
    // A smaller page than from memory: these rows are held for one reader alone, and some are large.
    const rows = await eventsAfter(this.#database, session.id, { after: seq, limit: rowsMax });
    return rows.map(tailed);
  }

  #changed(session: Session, seq: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        if (!signal.aborted && session.lastSeq <= seq) return;
        session.waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      session.waiting.add(wake);
      signal.addEventListener("abort", wake);
      wake();
    });
  }
}

function keep(session: Session, event: TailedEvent): void {
  session.recent.push(event);
  session.recentCharacters += event.json.length;
}

/** Half at once, so that it is seldom done. */
function forget(session: Session): void {
  const { recent, recentCharacters } = session;
  if (recent.length <= RECENT_MAX && recentCharacters <= LIMITS.tailCharacters) return;
  let [from, left] = [recent.length, LIMITS.tailCharacters / 2];
  for (; from > 0 && recent.length - from < RECENT_MAX / 2; from--) {
    left -= recent[from - 1]?.json.length ?? 0;
    if (left < 0) break;
  }
  session.recent = recent.slice(from);
  session.recentCharacters = session.recent.reduce((all, { json }) => all + json.length, 0);
}

function tailed(row: EventRow): TailedEvent {
  return { seq: row.seq, json: eventJson(row) };
}
