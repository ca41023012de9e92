/** Session rows: made once per id, listed in a stable order, purged with all that is theirs and nothing else. */
import { expect, test } from "vitest";
import { Agent } from "../../contract/agents.ts";
import { newId } from "../../contract/ids.ts";
import type { Session } from "../../contract/session.ts";
import { recordArtifact, removeUnusedBlobs } from "../../store/artifacts.ts";
import { writeState } from "../../store/backend-state.ts";
import type { Database } from "../../store/database.ts";
import { makeGrant } from "../../store/grants.ts";
import { beginSandbox } from "../../store/sandboxes.ts";
import { closeSession } from "../../store/session-closing.ts";
import {
  createSession,
  findSession,
  getSession,
  listSessions,
  purgeSession,
  type SessionFilter,
} from "../../store/sessions.ts";
import { endStep } from "../../store/steps.ts";
import { endTurn } from "../../store/turns.ts";
import { openWait } from "../../store/waits.ts";
import { aCall, aMessage, anEnding, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const wanted = (id: string, rest: { title?: string; metadata?: Record<string, string>; model?: string } = {}) => ({
  id,
  agent: Agent.parse(rest.model === undefined ? {} : { model: rest.model }),
  title: rest.title,
  metadata: rest.metadata ?? {},
});
const idsOf = async (database: Database, filter: Partial<SessionFilter>) =>
  (await listSessions(database, { metadata: {}, limit: 100, ...filter })).rows.map((session) => session.id).sort();

test("a session that is created again, also by many at once, is the same and is said once", async () => {
  await using store = await temporaryStore();
  const same = wanted("s1", { title: "t", metadata: { b: "2", a: "1" } });
  const spelled = { ...same, metadata: { a: "1", b: "2" } };

  const made = await Promise.all([same, spelled, same, spelled].map((each) => createSession(store.database, each)));

  expect(made.filter(({ created }) => created)).toHaveLength(1);
  for (const { session } of made) expect(session).toEqual(made[0]?.session);
  expect(await typesOf(store.database, "s1")).toEqual(["session.created"]);
});

test.for([
  ["another title", { title: "u" }],
  ["no title", {}],
  ["other metadata", { title: "t", metadata: { a: "1" } }],
  ["another agent", { title: "t", model: "another" }],
] as const)("the same id with %s is a conflict and changes nothing", async ([, other]) => {
  await using store = await temporaryStore();
  const { session } = await createSession(store.database, wanted("s1", { title: "t" }));

  const conflict = createSession(store.database, wanted("s1", other));

  await expect(conflict).rejects.toMatchObject({ name: "ProblemError", code: "CONFLICT" });
  expect(await findSession(store.database, "s1")).toEqual(session);
});

test("an unknown session is undefined to one who looks and SESSION_NOT_FOUND to one who needs it", async () => {
  await using store = await temporaryStore();

  expect(await findSession(store.database, "nobody")).toBeUndefined();
  await expect(getSession(store.database, "nobody")).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
});

test("lists are filtered by status and by agent", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  await aSession(database, { id: "idle" });
  await aSession(database, { id: "other", agent: { name: "reviewer" } });
  await aSession(database, { id: "busy" });
  await aStep(database, await aMessage(database, "busy"));
  await aSession(database, { id: "over" });
  await closeSession(database, "over");

  expect(await idsOf(database, { status: "idle" })).toEqual(["idle", "other"]);
  expect(await idsOf(database, { status: "running" })).toEqual(["busy"]);
  expect(await idsOf(database, { status: "closed" })).toEqual(["over"]);
  expect(await idsOf(database, { status: "waiting" })).toEqual([]);
  expect(await idsOf(database, { agent: "reviewer" })).toEqual(["other"]);
  expect(await idsOf(database, { agent: "review%" })).toEqual([]);
});

const NASTY: readonly string[] = [
  "plain",
  "Plain",
  "",
  "%",
  "_",
  "a'b",
  "a''b",
  'a"b',
  "a\\",
  'a\\"b',
  'a","k":"plain',
  '"k":"plain"',
  "?",
  "ü",
  "u\u0308",
  "😀",
  "\u2028",
  "line\nbreak",
  "\u0000",
  "{}",
  "null",
];

test("metadata is matched exactly, whatever characters its values have", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  for (const [index, value] of NASTY.entries()) {
    await aSession(database, { id: `k${index}`, metadata: { k: value } });
    await aSession(database, { id: `z${index}`, metadata: { kk: value, z: value } });
  }

  for (const [index, value] of NASTY.entries()) {
    expect(await idsOf(database, { metadata: { k: value } }), JSON.stringify(value)).toEqual([`k${index}`]);
    expect(await idsOf(database, { metadata: { z: value, kk: value } })).toEqual([`z${index}`]);
    expect(await idsOf(database, { metadata: { k: value, z: value } })).toEqual([]);
  }
});

test("metadata is matched exactly by key, also by keys that look like something else", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const keys = ["a", "A", "a.b", "a_b", "a-b", "a:b", "a/b", "constructor", "toString", "1", "01"];
  for (const [index, key] of keys.entries()) await aSession(database, { id: `s${index}`, metadata: { [key]: "v" } });

  for (const [index, key] of keys.entries()) {
    expect(await idsOf(database, { metadata: { [key]: "v" } }), key).toEqual([`s${index}`]);
  }
});

test("pages cover every session once, newest first, also when many are of the same millisecond", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  await Promise.all(Array.from({ length: 25 }, () => aSession(database)));
  await database.write((tx) => tx.updateTable("sessions").set({ created_at: 1_000 }).execute());
  await aSession(database, { id: "newest" });

  const seen: Session[] = [];
  for (let page: readonly Session[] = []; seen.length < 40; ) {
    const last = page.at(-1);
    page = (await listSessions(database, { metadata: {}, limit: 4, after: last })).rows;
    if (page.length === 0) break;
    seen.push(...page);
    if (seen.length === 8) await aSession(database); // One that comes meanwhile is newer, and does not shift the pages.
  }

  expect(seen[0]?.id).toBe("newest");
  expect(new Set(seen.map((session) => session.id)).size).toBe(26);
  expect(seen).toHaveLength(26);
});

async function aFullSession(database: Database, id: string, blobs: readonly string[]): Promise<void> {
  await aSession(database, { id });
  const ids = await aMessage(database, id);
  const asked = aCall("bash");
  await endStep(database, await aStep(database, ids), anEnding([aCall(), asked]));
  await database.write(async (tx) => {
    const { callId, name } = asked.block;
    const call = { callId, name, arguments: {}, argumentsHash: "0".repeat(64), deadline: 1 };
    await openWait(tx, { ...ids, step: 1, ...call, request: { kind: "tool", replay: "safe" } });
    const grant = { tool: name, action: "allow" as const, match: null, argumentsHash: null, reason: null, callId };
    await makeGrant(tx, { ...grant, scope: "session", sessionId: id, project: null });
    await writeState(tx, { ...ids, step: 1 }, { backend: "copilot", append: "text", meta: {} });
  });
  await beginSandbox(database, id, { provider: "local", host: "h", generation: 1, spec: {}, restoredFrom: null });
  for (const [index, sha256] of blobs.entries()) {
    const scanned = { path: `outputs/${index}`, bytes: 1, modifiedAt: 1 };
    await recordArtifact(database, ids, { scanned, sha256, bytes: 1, contentType: "text/plain" });
  }
  await endTurn(database, { ...ids, outcome: "completed" });
  await aMessage(database, id);
}

async function rowCounts(database: Database): Promise<Record<string, number>> {
  const tables = ["sessions", "messages", "turns", "steps", "transcript", "tool_calls", "events", "sandboxes"] as const;
  const counts: Record<string, number> = {};
  const later = ["waits", "grants", "backend_states", "backend_state_chunks"] as const;
  for (const table of [...tables, "artifacts", "artifact_files", "blobs", ...later] as const) {
    counts[table] = (await database.read.selectFrom(table).selectAll().execute()).length;
  }
  return counts;
}

test("a purge removes every row of its session and nothing of another; its blobs go when nobody else uses them", async () => {
  await using store = await temporaryStore();
  const { database, blobs } = store;
  await aFullSession(database, "stays", ["shared", "only-stays"]);
  const [log, counts] = [await logOf(database, "stays"), await rowCounts(database)];
  expect(Object.values(counts)).not.toContain(0);
  await aFullSession(database, "goes", ["only-goes", "shared", "only-goes"]);

  await purgeSession(database, "goes");
  await removeUnusedBlobs(database, blobs);

  expect(await rowCounts(database)).toEqual(counts);
  expect(await logOf(database, "stays")).toEqual(log);
  await purgeSession(database, "goes");
  await purgeSession(database, "stays");
  await removeUnusedBlobs(database, blobs);
  expect(new Set(Object.values(await rowCounts(database)))).toEqual(new Set([0]));
});

test("a decision that is remembered beyond its session stays when the session is purged", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const id = await aSession(database);
  const grant = { tool: "bash", action: "allow" as const, match: null, argumentsHash: null, reason: null };
  const scopes = ["session", "project", "always"] as const;
  await database.write(async (tx) => {
    for (const scope of scopes) {
      const of = { scope, sessionId: scope === "session" ? id : null, project: scope === "project" ? "p" : null };
      await makeGrant(tx, { ...grant, ...of, callId: newId("call") });
    }
  });

  await purgeSession(database, id);

  const left = await database.read.selectFrom("grants").select("scope").execute();
  expect(left.map(({ scope }) => scope).sort()).toEqual(["always", "project"]);
});

test("a blob's file goes with the last artifact that names it, and not before", async () => {
  await using store = await temporaryStore();
  const { database, blobs } = store;
  const { sha256 } = await blobs.put(Buffer.from("the same bytes"));
  await aFullSession(database, "one", [sha256]);
  await aFullSession(database, "two", [sha256]);

  await purgeSession(database, "one");
  await removeUnusedBlobs(database, blobs);
  expect(await blobs.has(sha256)).toBe(true);

  await purgeSession(database, "two");
  await removeUnusedBlobs(database, blobs);
  expect(await blobs.has(sha256)).toBe(false);
});

test("the id of a purged session is free again, and its log begins at 1", async () => {
  await using store = await temporaryStore();
  await aFullSession(store.database, "s1", []);
  await purgeSession(store.database, "s1");

  const { created } = await createSession(store.database, wanted("s1", { title: newId("msg") }));

  expect(created).toBe(true);
  expect(await typesOf(store.database, "s1")).toEqual(["session.created"]);
});
