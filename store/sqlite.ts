/** Kysely's SQLite dialect over `node:sqlite`, with a begin that takes the write lock and never blocks the event loop for it. */
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
} from "kysely";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "./error.ts";
import type { Schema } from "./schema.ts";

const STATEMENTS_MAX = 500;
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/** Opens one connection. The writer and the readers of a process are connections of their own: under WAL they do not wait for each other. */
export function openSqlite(file: string, kind: "writer" | "reader"): { kysely: Kysely<Schema>; raw: DatabaseSync } {
  const raw = new DatabaseSync(file);
  raw.exec(
    `pragma journal_mode = wal; pragma synchronous = normal; pragma busy_timeout = ${kind === "writer" ? 0 : 100};`,
  );
  const config: SqliteDialectConfig = { database: adapter(raw) };
  return { kysely: new Kysely<Schema>({ dialect: new ImmediateDialect(config) }), raw };
}

/** `better-sqlite3`'s shape, which Kysely expects. Statements are kept: preparing one costs as much as running it. */
function adapter(
  raw: DatabaseSync,
): NonNullable<Exclude<SqliteDialectConfig["database"], (...args: never) => unknown>> {
  const statements = new Map<string, StatementSync>();
  return {
    close: () => raw.close(),
    prepare: (query: string) => {
      let statement = statements.get(query);
      if (!statement) {
        if (statements.size >= STATEMENTS_MAX) statements.clear();
        statement = raw.prepare(query);
        statements.set(query, statement);
      }
      const prepared = statement;
      return {
        reader: prepared.columns().length > 0,
        all: (parameters: readonly unknown[]) => prepared.all(...(parameters as never[])),
        run: (parameters: readonly unknown[]) => prepared.run(...(parameters as never[])),
        iterate: (parameters: readonly unknown[]) => prepared.iterate(...(parameters as never[])),
      };
    },
  };
}

class ImmediateDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig;

  constructor(config: SqliteDialectConfig) {
    super(config);
    this.#config = config;
  }

  override createDriver(): Driver {
    return new ImmediateDriver(this.#config);
  }
}

class ImmediateDriver extends SqliteDriver {
  /** Takes the write lock at once, so that a transaction cannot fail half-way for want of it; waits for another process without blocking ours. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    const deadline = Date.now() + LIMITS.databaseBusyMs;
    for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
      try {
        await connection.executeQuery(CompiledQuery.raw("begin immediate"));
        return;
      } catch (error) {
        if (!isCode(error, SQLITE_BUSY)) throw error;
        if (Date.now() > deadline) {
          throw new StoreError(
            "locked",
            `the database has been locked by another process for ${LIMITS.databaseBusyMs} ms`,
            {
              cause: error,
            },
          );
        }
        await delay(pause);
      }
    }
  }
}

/** What SQLite threw, as the store's own error where it is the world's fault and not ours. */
export function fromSqlite(error: unknown): unknown {
  if (isCode(error, SQLITE_BUSY))
    return new StoreError("locked", "the database is locked by another process", { cause: error });
  if (isCode(error, SQLITE_FULL))
    return new StoreError("full", "the disk that holds the database is full", { cause: error });
  return error;
}

function isCode(error: unknown, code: number): boolean {
  return (
    error instanceof Error && "errcode" in error && typeof error.errcode === "number" && (error.errcode & 0xff) === code
  );
}
