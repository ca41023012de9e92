/** A store in a temporary folder, and builders for what tests put into it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Agent, type AgentInput } from "../../contract/agents.ts";
import type { Content } from "../../contract/blocks.ts";
import type { MessageMode, SessionEvent } from "../../contract/events.ts";
import { type MessageId, newId, type SessionId } from "../../contract/ids.ts";
import { NO_USAGE } from "../../contract/usage.ts";
import type { Database } from "../../store/database.ts";
import { eventsAfter, parseEvent } from "../../store/event-log.ts";
import { receiveMessage } from "../../store/messages.ts";
import { createSession } from "../../store/sessions.ts";
import { type BegunStep, beginStep, type MadeCall, type StepEnding } from "../../store/steps.ts";
import { openStore, type Store } from "../../store/store.ts";
import type { TurnIds } from "../../store/turns.ts";

export interface TemporaryStore extends Store {
  readonly folder: string;
  readonly file: string;
}

/** A folder that is gone when it is disposed of. */
export function temporaryFolder(): Disposable & { readonly path: string } {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-store-"));
  return { path: folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

export async function temporaryStore(): Promise<TemporaryStore> {
  const folder = temporaryFolder();
  const store = await openStore(folder.path);
  return {
    ...store,
    folder: folder.path,
    file: path.join(folder.path, "perdure.db"),
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

export async function aSession(
  database: Database,
  wanted: {
    readonly id?: SessionId;
    readonly agent?: AgentInput;
    readonly metadata?: Record<string, string>;
    readonly title?: string;
  } = {},
): Promise<SessionId> {
  const { session } = await createSession(database, {
    id: wanted.id ?? newId("ses"),
    agent: Agent.parse(wanted.agent ?? {}),
    title: wanted.title,
    metadata: wanted.metadata ?? {},
  });
  return session.id;
}

/** A message that waits for its turn. */
export async function aMessage(
  database: Database,
  sessionId: SessionId,
  wanted: { readonly id?: MessageId; readonly content?: Content; readonly mode?: MessageMode } = {},
): Promise<TurnIds> {
  const message = {
    sessionId,
    id: wanted.id ?? newId("msg"),
    turnId: newId("turn"),
    mode: wanted.mode ?? ("queue" as const),
    content: wanted.content ?? "hello",
  };
  const { turnId } = await receiveMessage(database, message);
  return { sessionId, messageId: message.id, turnId };
}

/** An attempt at a step of a turn. */
export async function aStep(database: Database, ids: TurnIds, step = 1): Promise<BegunStep> {
  const begun = await beginStep(database, { ...ids, step }, undefined);
  if (begun.state !== "begun") throw new Error(`expected step ${step} to begin; it is done`);
  return begun;
}

export function aCall(name = "read_file", error?: string): MadeCall {
  const block = { type: "tool_call" as const, callId: newId("call"), name, arguments: { path: "a.txt" } };
  return error === undefined ? { block } : { block, answer: { outcome: "error", text: error } };
}

/** The end of a step that wants these calls, or is done when there are none. */
export function anEnding(calls: readonly MadeCall[] = [], rest: Partial<StepEnding> = {}): StepEnding {
  const usage = rest.usage ?? NO_USAGE;
  const planned = calls
    .filter((call) => call.answer === undefined)
    .map(({ block }) => ({ callId: block.callId, name: block.name, quick: false, summary: block.name }));
  return {
    result: calls.length > 0 ? { next: "calls", calls: planned, usage } : { next: "done", usage },
    model: "a-model",
    usage,
    blocks: [{ type: "text", text: "done" }, ...calls.map((call) => call.block)],
    calls,
    facts: [],
    attempt: undefined,
    ...rest,
  };
}

/** The whole log, read and parsed. Throws when its seqs are not 1, 2, 3 … or do not end where the session says. */
export async function logOf(database: Database, sessionId: SessionId): Promise<readonly SessionEvent[]> {
  const rows = await eventsAfter(database, sessionId, { after: 0, limit: 1_000_000 });
  const gap = rows.findIndex((row, index) => row.seq !== index + 1);
  if (gap >= 0) throw new Error(`expected seq ${gap + 1}, found ${rows[gap]?.seq}`);
  const session = await database.read
    .selectFrom("sessions")
    .select("last_seq")
    .where("id", "=", sessionId)
    .executeTakeFirst();
  if (session && session.last_seq !== rows.length)
    throw new Error(`the session ends at ${session.last_seq}, its log at ${rows.length}`);
  return rows.map(parseEvent);
}

export async function typesOf(database: Database, sessionId: SessionId): Promise<readonly string[]> {
  return (await logOf(database, sessionId)).map((event) => event.type);
}
