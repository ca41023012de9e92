/** Stored agents: versions that never change, and ids whose numbers never mean two contents. */
import { expect, test } from "vitest";
import { Agent, type AgentInput, AgentInput as AgentInputSchema, toAgent } from "../../contract/agents.ts";
import {
  createAgent,
  deleteAgent,
  findAgent,
  findAgentVersion,
  getAgent,
  listAgents,
  listAgentVersions,
  pinHandoffs,
  putAgent,
} from "../../store/agents.ts";
import { openDatabase } from "../../store/database.ts";
import { temporaryStore } from "./store-builder.ts";

const wanted = (id: string, agent: AgentInput = {}) => ({
  id,
  agent: toAgent(AgentInputSchema.parse({ name: id, ...agent })),
  source: "api",
});

test("an agent that is made again with the same content is found, also by many at once", async () => {
  await using store = await temporaryStore();

  const made = await Promise.all([1, 2, 3, 4].map(() => createAgent(store.database, wanted("a"))));

  expect(made.filter(({ created }) => created)).toHaveLength(1);
  expect(new Set(made.map(({ stored }) => stored.version))).toEqual(new Set([1]));
});

test("a repeat of the request that made an agent finds what it made, though there is a newer version", async () => {
  await using store = await temporaryStore();
  await createAgent(store.database, wanted("a", { model: "one" }));
  await putAgent(store.database, wanted("a", { model: "two" }));

  const repeat = await createAgent(store.database, wanted("a", { model: "one" }));

  expect(repeat).toMatchObject({ created: false, stored: { version: 1, agent: { model: "one" } } });
});

test("other content under an id that is taken is a conflict that says what to do, and changes nothing", async () => {
  await using store = await temporaryStore();
  await createAgent(store.database, wanted("a", { model: "one" }));

  const conflict = createAgent(store.database, wanted("a", { model: "two" }));

  await expect(conflict).rejects.toMatchObject({
    code: "CONFLICT",
    message: expect.stringContaining("PUT /v1/agents/a"),
  });
  expect((await listAgentVersions(store.database, "a", { limit: 10 })).rows).toHaveLength(1);
});

test("a put makes the first version, then new ones for new content only", async () => {
  await using store = await temporaryStore();
  const put = async (model: string) => (await putAgent(store.database, wanted("a", { model }))).stored.version;

  expect([await put("one"), await put("one"), await put("two"), await put("one"), await put("one")]).toEqual([
    1, 1, 2, 3, 3,
  ]);
  expect(await findAgentVersion(store.database.read, { id: "a", version: 2 })).toMatchObject({
    agent: { model: "two" },
  });
});

test("puts that meet each other, from two processes' connections, make a version each", async () => {
  await using store = await temporaryStore();
  const other = await openDatabase(store.file);
  const models = Array.from({ length: 20 }, (_, i) => `m${i}`);

  const made = await Promise.all(
    models.map((model, i) => putAgent(i % 2 === 0 ? store.database : other, wanted("a", { model }))),
  );
  await other.close();

  expect(made.map(({ stored }) => stored.version).sort((a, b) => a - b)).toEqual(models.map((_, i) => i + 1));
});

test("a put for a version that is not the newest is a conflict, and its own repeat is none", async () => {
  await using store = await temporaryStore();
  const put = (model: string, ifVersion: number) => putAgent(store.database, { ...wanted("a", { model }), ifVersion });

  await expect(put("one", 1)).rejects.toMatchObject({ code: "CONFLICT" });
  await putAgent(store.database, wanted("a", { model: "one" }));
  expect(await put("two", 1)).toMatchObject({ created: true, stored: { version: 2 } });
  await expect(put("three", 1)).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining("is 2") });
  expect(await put("two", 1)).toMatchObject({ created: false, stored: { version: 2 } });
});

test("a deleted agent is gone but for who names its version, and its numbers are not used again", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  await putAgent(database, wanted("a", { model: "one" }));
  await putAgent(database, wanted("a", { model: "two" }));

  expect(await deleteAgent(database, "a")).toBe(true);
  expect(await deleteAgent(database, "a")).toBe(true);
  expect(await findAgent(database.read, "a")).toBeUndefined();
  await expect(getAgent(database.read, "a")).rejects.toMatchObject({ code: "AGENT_NOT_FOUND" });
  expect(await getAgent(database.read, "a", 1)).toMatchObject({
    agent: { model: "one" },
    deletedAt: expect.any(Number),
  });

  const again = await createAgent(database, wanted("a", { model: "one" }));
  expect(again).toMatchObject({ created: true, stored: { version: 3, deletedAt: null } });
  expect((await listAgentVersions(database, "a", { limit: 10 })).rows.map(({ version }) => version)).toEqual([3, 2, 1]);
});

test("what never was is not deleted and not found", async () => {
  await using store = await temporaryStore();

  expect(await deleteAgent(store.database, "nobody")).toBe(false);
  expect((await listAgentVersions(store.database, "nobody", { limit: 10 })).rows).toEqual([]);
  await expect(getAgent(store.database.read, "nobody", 1)).rejects.toMatchObject({ code: "AGENT_NOT_FOUND" });
});

test("a list has each agent once, in its newest version, and pages go on where they ended", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  for (const id of ["c", "a", "b", "gone"]) await putAgent(database, wanted(id));
  await putAgent(database, wanted("b", { model: "two" }));
  await deleteAgent(database, "gone");

  const shown = (await listAgents(database, { limit: 10 })).rows.map(({ id, version }) => `${id}${version}`);
  const rest = (await listAgents(database, { after: "a", limit: 1 })).rows.map(({ id }) => id);

  expect(shown).toEqual(["a1", "b2", "c1"]);
  expect(rest).toEqual(["b"]);
});

test("a stored agent that says nothing of a policy asks, and one that says something keeps it", async () => {
  await using store = await temporaryStore();

  const silent = await createAgent(store.database, wanted("silent"));
  const open = await createAgent(store.database, wanted("open", { policy: { default: "allow" } }));

  expect(silent.stored.agent.policy).toEqual({ rules: [] });
  expect(open.stored.agent.policy).toEqual({ default: "allow", rules: [] });
});

test("handoffs are pinned to the newest version, a named one stays, and a deleted agent is nobody to hand over to", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  for (const model of ["one", "two"]) await putAgent(database, wanted("b", { model }));
  await putAgent(database, wanted("gone"));
  await deleteAgent(database, "gone");
  const agent = Agent.parse({ handoffs: [{ agent: "b" }, { agent: "b", version: 1 }, { agent: "gone" }] });

  const pinned = await pinHandoffs(database.read, agent);

  expect(pinned.handoffs).toEqual([
    { agent: "b", version: 2 },
    { agent: "b", version: 1 },
  ]);
});
