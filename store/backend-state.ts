/** A backend's own state of a session: a text that grows by chunks, each committed with the step that made it. */
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Database, Tx } from "./database.ts";

export interface StoredState {
  readonly text: string;
  readonly meta: unknown;
  /** The same version is the same text. */
  readonly version: string;
}

export interface StateWrite {
  readonly backend: string;
  readonly append?: string;
  readonly replace?: string;
  readonly meta: unknown;
}

/** Appends to the state, or begins its text anew. The row is made with the first write. */
export async function writeState(
  tx: Tx,
  at: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly step: number },
  write: StateWrite,
): Promise<void> {
  const key = { session_id: at.sessionId, backend: write.backend };
  const head = await tx
    .selectFrom("backend_states")
    .select(["generation", "chunks"])
    .where("session_id", "=", key.session_id)
    .where("backend", "=", key.backend)
    .executeTakeFirst();
  const isNew = head === undefined || write.replace !== undefined;
  const generation = (head?.generation ?? 0) + (isNew ? 1 : 0);
  const number = isNew ? 1 : head.chunks + 1;
  if (isNew && head) {
    await tx
      .deleteFrom("backend_state_chunks")
      .where("session_id", "=", key.session_id)
      .where("backend", "=", key.backend)
      .execute();
  }
  const text = (write.replace ?? "") + (write.append ?? "");
  await tx
    .insertInto("backend_state_chunks")
    .values({ ...key, generation, number, text })
    .execute();
  const values = { generation, chunks: number, meta: JSON.stringify(write.meta), turn_id: at.turnId, step: at.step };
  await tx
    .insertInto("backend_states")
    .values({ ...key, ...values })
    .onConflict((conflict) => conflict.columns(["session_id", "backend"]).doUpdateSet(values))
    .execute();
}

const SESSIONS_MAX = 200;
const CHARACTERS_MAX = 64 * 1024 * 1024;

interface Kept {
  /** Tells a session from one that was made under the same id after a purge. */
  readonly createdAt: number;
  readonly generation: number;
  readonly chunks: number;
  readonly text: string;
}

/** Reads states, and keeps the texts of sessions at work: a chunk never changes, so only what came since is read. */
export class BackendStates {
  readonly #database: Database;
  readonly #kept = new Map<string, Kept>();
  #characters = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The state as it was last committed; undefined when there is none. */
  async read(sessionId: SessionId, backend: string): Promise<StoredState | undefined> {
    const head = await this.#database.read
      .selectFrom("backend_states")
      .innerJoin("sessions", "sessions.id", "backend_states.session_id")
      .select(["generation", "chunks", "meta", "sessions.created_at"])
      .where("session_id", "=", sessionId)
      .where("backend", "=", backend)
      .executeTakeFirst();
    if (!head) return undefined;
    const key = `${backend} ${sessionId}`;
    const before = this.#kept.get(key);
    const isSame = before?.createdAt === head.created_at && before.generation === head.generation;
    const known = isSame && before.chunks <= head.chunks ? before : undefined;
    const rows = await this.#database.read
      .selectFrom("backend_state_chunks")
      .select("text")
      .where("session_id", "=", sessionId)
      .where("backend", "=", backend)
      .where("generation", "=", head.generation)
      .where("number", ">", known?.chunks ?? 0)
      .where("number", "<=", head.chunks)
      .orderBy("number")
      .execute();
    const text = (known?.text ?? "") + rows.map((row) => row.text).join("");
    this.#keep(key, { createdAt: head.created_at, generation: head.generation, chunks: head.chunks, text });
    const version = `${head.created_at}.${head.generation}.${head.chunks}`;
    return { text, meta: JSON.parse(head.meta) as unknown, version };
  }

  #keep(key: string, kept: Kept): void {
    this.#drop(key);
    this.#kept.set(key, kept);
    this.#characters += kept.text.length;
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= 1 || (this.#kept.size <= SESSIONS_MAX && this.#characters <= CHARACTERS_MAX)) return;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    this.#characters -= this.#kept.get(key)?.text.length ?? 0;
    this.#kept.delete(key);
  }
}
