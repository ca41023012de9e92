/** Kysely's SQLite dialect over `node:sqlite`, with a begin that takes the write lock and never blocks the event loop for it. */
import { AsyncLocalStorage } from "node:async_hooks";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import {
  CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
  type Transaction,
} from "kysely";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "./error.ts";
import type { Schema } from "./schema.ts";

/** Pages of 8 KiB hold tool results of a kilobyte or two with little waste. The size counts when the file is made. */
const SET_UP = [
  "pragma page_size = 8192",
  // So does this: pages that become free can be given back.
  "pragma auto_vacuum = incremental",
  "pragma journal_mode = wal",
  // Of the write-ahead log, after a checkpoint.
  `pragma journal_size_limit = ${LIMITS.logBytesKept}`,
].join("; ");

/** normal: the disk has it at some later time, and a power cut may cost the last commits. full: at each commit. */
export type Synchronous = "normal" | "full";

const STATEMENTS_MAX = 500;
/** Readers meet a lock only while another process recovers the file after a crash. */
const READER_BLOCKS_MS = 100;
const SQLITE = { busy: 5, readOnly: 8, ioError: 10, corrupt: 11, full: 13, cannotOpen: 14, notADatabase: 26 } as const;

export interface SqliteConnection {
  readonly kysely: Kysely<Schema>;
  readonly raw: DatabaseSync;
  /** Runs a transaction that holds the write lock from its beginning; waits for the lock as long as `busyMs` in all. */
  transaction<T>(work: (tx: Transaction<Schema>) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Opens one connection. The writer and the readers of a process are connections of their own: under WAL they do not wait for each other. */
export async function openSqlite(
  file: string,
  kind: "writer" | "reader",
  { busyMs, synchronous }: { readonly busyMs: number; readonly synchronous: Synchronous },
): Promise<SqliteConnection> {
  const raw = converted(() => new DatabaseSync(file, { timeout: kind === "writer" ? 0 : READER_BLOCKS_MS }));
  try {
    // The change to WAL needs the file alone, and does not wait for it by itself: others may open the same new file now.
    const deadline = Date.now() + busyMs;
    await whileLocked(
      async () => converted(() => raw.exec(`${SET_UP}; pragma synchronous = ${synchronous};`)),
      () => deadline,
    );
  } catch (error) {
    raw.close();
    throw error;
  }
  const askedAt = new AsyncLocalStorage<number>();
  const kysely = new Kysely<Schema>({ dialect: new ImmediateDialect(raw, { askedAt, busyMs }) });
  return {
    kysely,
    raw,
    transaction: (work) => askedAt.run(Date.now(), () => kysely.transaction().execute(work)),
    close: async () => {
      await kysely.destroy();
      if (raw.isOpen) raw.close(); // Kysely closes only what it has used.
    },
  };
}

/** `better-sqlite3`'s shape, which Kysely expects. Statements are kept: preparing one costs as much as running it. */
function adapter(
  raw: DatabaseSync,
): NonNullable<Exclude<SqliteDialectConfig["database"], (...args: never) => unknown>> {
  const statements = new Map<string, SqliteStatement>();
  return {
    close: () => raw.close(),
    prepare: (query: string) => {
      let statement = statements.get(query);
      if (!statement) {
        if (statements.size >= STATEMENTS_MAX) statements.clear();
        statement = statementOf(converted(() => raw.prepare(query)));
        statements.set(query, statement);
      }
      return statement;
    },
  };
}

type SqliteStatement = ReturnType<Exclude<SqliteDialectConfig["database"], (...args: never) => unknown>["prepare"]>;

function statementOf(prepared: StatementSync): SqliteStatement {
  return {
    // Asked once: it makes an object for each column.
    reader: prepared.columns().length > 0,
    all: (parameters) => converted(() => prepared.all(...(parameters as never[]))),
    run: (parameters) => converted(() => prepared.run(...(parameters as never[]))),
    iterate: (parameters) => prepared.iterate(...(parameters as never[])),
  };
}

/** How long a transaction waits for the lock, and since when. */
interface Patience {
  readonly askedAt: AsyncLocalStorage<number>;
  readonly busyMs: number;
}

class ImmediateDialect extends SqliteDialect {
  readonly #raw: DatabaseSync;
  readonly #patience: Patience;

  constructor(raw: DatabaseSync, patience: Patience) {
    super({ database: adapter(raw) });
    this.#raw = raw;
    this.#patience = patience;
  }

  override createDriver(): Driver {
    return new ImmediateDriver(this.#raw, this.#patience);
  }
}

class ImmediateDriver extends SqliteDriver {
  readonly #raw: DatabaseSync;
  readonly #patience: Patience;
  /** Since when others have held the lock, as far as we have met it. */
  #lockedSince: number | undefined;

  constructor(raw: DatabaseSync, patience: Patience) {
    super({ database: adapter(raw) });
    this.#raw = raw;
    this.#patience = patience;
  }

  /**
   * Takes the write lock at once, so that a transaction cannot fail half-way for want of it; waits for another process
   * without blocking ours. The wait behind our own writers who met the same lock counts: else the tenth of ten would
   * wait ten times as long.
   */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await whileLocked(
      () => connection.executeQuery(CompiledQuery.raw("begin immediate")),
      () => {
        this.#lockedSince ??= Date.now();
        const { askedAt, busyMs } = this.#patience;
        return Math.max(askedAt.getStore() ?? 0, this.#lockedSince) + busyMs;
      },
    );
    this.#lockedSince = undefined;
  }

  /** SQLite itself has rolled back when the disk is full or fails; a second rollback would hide why. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#raw.isTransaction) await super.rollbackTransaction(connection);
  }
}

/** Tries again as long as the database is locked, until the deadline that is asked for each time. */
async function whileLocked(work: () => Promise<unknown>, deadline: () => number): Promise<void> {
  for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
    try {
      await work();
      return;
    } catch (error) {
      if (!(error instanceof StoreError && error.kind === "locked")) throw error;
      if (Date.now() > deadline()) {
        const message = "another process has kept the database locked for too long; end it, or try again later";
        throw new StoreError("locked", message, { cause: error });
      }
    }
    await delay(pause);
  }
}

function converted<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw fromSqlite(error);
  }
}

/** What SQLite threw, as the store's own error where it is the world's fault and not ours. */
function fromSqlite(error: unknown): unknown {
  if (!(error instanceof Error && "errcode" in error && typeof error.errcode === "number")) return error;
  switch (error.errcode & 0xff) {
    case SQLITE.busy:
      return new StoreError("locked", "the database is locked by another process", { cause: error });
    case SQLITE.full:
      return new StoreError("full", "the disk that holds the database is full", { cause: error });
    case SQLITE.corrupt:
    case SQLITE.notADatabase:
      return new StoreError(
        "corrupt",
        `the database file is damaged or not a database (${error.message}); restore it, or use another state directory`,
        { cause: error },
      );
    case SQLITE.readOnly:
    case SQLITE.ioError:
    case SQLITE.cannotOpen:
      return new StoreError("failed", `the database file cannot be used: ${error.message}`, { cause: error });
    default:
      return error;
  }
}
