/** Changes of what a session runs as: at once while nothing runs, else with the end of the turn, and once either way. */
import { describe, expect, test } from "vitest";
import { Agent, type AgentOverrides } from "../../contract/agents.ts";
import type { SessionId } from "../../contract/ids.ts";
import { putAgent } from "../../store/agents.ts";
import {
  type BackendTable,
  changeAgent,
  configureSession,
  plannedConfiguration,
  type SessionChange,
} from "../../store/configuration.ts";
import type { Database } from "../../store/database.ts";
import { append } from "../../store/event-log.ts";
import { closeSession } from "../../store/session-closing.ts";
import { getSession } from "../../store/sessions.ts";
import { appendMessages } from "../../store/transcript.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore, typesOf } from "./store-builder.ts";

const BACKENDS: BackendTable = {
  openai: { images: true, files: true, settings: ["api", "temperature", "topP", "maxOutputTokens", "reasoningEffort"] },
  blind: { images: false, files: false, settings: ["reasoningEffort"] },
};

const override = (database: Database, id: SessionId, overrides: AgentOverrides) =>
  configureSession(database, id, { configuration: { overrides }, backends: BACKENDS });
const change = (database: Database, id: SessionId, rest: Partial<SessionChange>) =>
  configureSession(database, id, { configuration: {}, backends: BACKENDS, ...rest });
const configurationOf = async (database: Database, id: SessionId) =>
  (await database.read.selectFrom("sessions").select("configuration").where("id", "=", id).executeTakeFirst())
    ?.configuration;
const updatesOf = async (database: Database, id: SessionId) =>
  (await logOf(database, id)).filter((event) => event.type === "session.updated");

async function aRunningTurn(database: Database, id: SessionId): Promise<TurnIds> {
  const ids = await aMessage(database, id);
  await aStep(database, ids);
  return ids;
}

async function aStoredAgent(database: Database, id: string, agent: object = {}) {
  const { stored } = await putAgent(database, { id, agent: Agent.parse({ name: id, ...agent }), source: "api" });
  return { ref: { id, version: stored.version }, profile: stored.agent };
}

describe("while no turn runs", () => {
  test("a change is applied at once, said in an event and counted; the same again is nothing", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);

    const first = await override(database, id, { model: "m2" });
    const second = await override(database, id, { model: "m2" });

    expect(first).toMatchObject({ applied: true, session: { agent: { model: "m2" } } });
    expect(second).toEqual(first);
    expect(await configurationOf(database, id)).toBe(1);
    expect(await updatesOf(database, id)).toMatchObject([
      { model: "m2", backend: "openai", agentRef: null, notCarried: [] },
    ]);
  });

  test("a session that moves to a stored agent is found by that agent's id and name", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database, { agent: { instructions: "old", model: "m" } });
    const agent = await aStoredAgent(database, "coder", { name: "Coder" });

    const { session } = await change(database, id, { configuration: { agent } });

    expect(session).toMatchObject({ agentRef: { id: "coder", version: 1 }, agent: { name: "Coder" } });
    expect(session.agent.instructions).toBeUndefined();
    expect(await updatesOf(database, id)).toMatchObject([{ agent: "Coder", model: null }]);
  });

  test("title and metadata change without an event, and null takes the title away", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database, { title: "old", metadata: { a: "1" } });

    const { session, applied } = await change(database, id, { title: null, metadata: { b: "2" } });

    expect(applied).toBe(true);
    expect(session).toMatchObject({ title: null, metadata: { b: "2" } });
    expect(await typesOf(database, id)).toEqual(["session.created"]);
    expect(await configurationOf(database, id)).toBe(0);
  });

  test("an unknown session and a closed one are refused", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    await closeSession(database, id);

    await expect(override(database, "nobody", {})).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
    await expect(plannedConfiguration(database, "nobody")).rejects.toMatchObject({ code: "SESSION_NOT_FOUND" });
    await expect(change(database, id, { title: "t" })).rejects.toMatchObject({ code: "SESSION_CLOSED" });
    expect((await getSession(database, id)).title).toBeNull();
  });
});

describe("while a turn runs", () => {
  test("the agent stays as it is until the turn's end, whose event comes first; title and metadata do not wait", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    const turn = await aRunningTurn(database, id);

    const { session, applied } = await change(database, id, {
      configuration: { overrides: { model: "m2" } },
      title: "t",
    });
    expect(applied).toBe(false);
    expect(session.title).toBe("t");
    expect(session.agent.model).toBeUndefined();
    expect((await plannedConfiguration(database, id)).agent.model).toBe("m2");
    expect(await updatesOf(database, id)).toEqual([]);

    await endTurn(database, { ...turn, outcome: "completed" });
    expect((await getSession(database, id)).agent.model).toBe("m2");
    expect((await typesOf(database, id)).slice(-2)).toEqual(["turn.completed", "session.updated"]);
  });

  test("several changes are one at the end: the last word wins for each field", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database, { agent: { modelSettings: { maxOutputTokens: 5 } } });
    const turn = await aRunningTurn(database, id);

    await override(database, id, { model: "m2", modelSettings: { temperature: 1 } });
    await override(database, id, { model: "m3", limits: { stepsPerTurn: 9 } });
    await override(database, id, { modelSettings: { topP: 0.5 }, limits: { modelAttempts: 2 } });
    await endTurn(database, { ...turn, outcome: "failed" });

    const { agent } = await getSession(database, id);
    expect(agent).toMatchObject({ model: "m3", limits: { stepsPerTurn: 9, modelAttempts: 2 } });
    expect(agent.modelSettings).toEqual({ maxOutputTokens: 5, temperature: 1, topP: 0.5 });
    expect(await updatesOf(database, id)).toHaveLength(1);
    expect(await configurationOf(database, id)).toBe(1);
  });

  test("an agent that is chosen after overrides takes them away, as it would between turns", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    const agent = await aStoredAgent(database, "coder", { model: "own" });
    const turn = await aRunningTurn(database, id);

    await override(database, id, { model: "m2" });
    await change(database, id, { configuration: { clientTools: [] } });
    await change(database, id, { configuration: { agent } });
    await endTurn(database, { ...turn, outcome: "completed" });

    expect(await getSession(database, id)).toMatchObject({
      agent: { model: "own" },
      agentRef: { id: "coder", version: 1 },
    });
  });

  test("a handoff changes the agent in mid-turn, and what waits is laid over the new one at the end", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database, { agent: { model: "m" } });
    await aStoredAgent(database, "third");
    const { ref, profile } = await aStoredAgent(database, "other", { handoffs: [{ agent: "third" }] });
    const turn = await aRunningTurn(database, id);
    await override(database, id, { model: "m2" });

    await database.write(async (tx) => {
      await append(tx, id, [await changeAgent(tx, id, { agent: profile, agentRef: ref, turnId: turn.turnId })]);
    });
    expect(await getSession(database, id)).toMatchObject({
      agent: { name: "other", handoffs: [{ agent: "third", version: 1 }] },
      agentRef: ref,
    });
    await endTurn(database, { ...turn, outcome: "completed" });

    expect((await getSession(database, id)).agent).toMatchObject({ name: "other", model: "m2" });
    expect(await updatesOf(database, id)).toMatchObject([{ agent: "other", turnId: turn.turnId }, { model: "m2" }]);
    expect(await configurationOf(database, id)).toBe(2);
  });

  test("a turn that begins beside a change sees it, or comes before it: it is never lost", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    for (let round = 0; round < 20; round++) {
      const id = await aSession(database);
      const ids = await aMessage(database, id);

      const [begun, { applied }] = await Promise.all([aStep(database, ids), override(database, id, { model: "m2" })]);

      expect(begun.setup.agent.model).toBe(applied ? "m2" : undefined);
      await endTurn(database, { ...ids, outcome: "completed" });
      expect((await getSession(database, id)).agent.model).toBe("m2");
      expect(await updatesOf(database, id)).toHaveLength(1);
    }
  });

  test("the end of a later turn applies nothing again, nor does the same end", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    const turn = await aRunningTurn(database, id);
    await override(database, id, { model: "m2" });

    await endTurn(database, { ...turn, outcome: "completed" });
    await endTurn(database, { ...turn, outcome: "completed" });
    await endTurn(database, { ...(await aRunningTurn(database, id)), outcome: "completed" });

    expect(await updatesOf(database, id)).toHaveLength(1);
  });
});

describe("to another backend", () => {
  test("what it cannot be shown is counted, and settings that were for the one before fall away", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database, { agent: { modelSettings: { temperature: 1, reasoningEffort: "low" } } });
    await aConversation(database, id);

    const { session } = await override(database, id, { backend: "blind" });

    expect(session.agent.modelSettings).toEqual({ reasoningEffort: "low" });
    const [{ notCarried } = { notCarried: [] }] = await updatesOf(database, id);
    expect(notCarried.map(({ what, count }) => `${count} ${what}`).sort()).toEqual([
      "1 files",
      "1 modelSettings.temperature",
      "2 images",
      "2 reasoning of the openai backend",
    ]);
  });

  test("and back, all of it is carried again", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    await aConversation(database, id);
    await override(database, id, { backend: "blind" });

    await override(database, id, { backend: "openai" });

    expect((await updatesOf(database, id)).at(-1)).toMatchObject({ backend: "openai", notCarried: [] });
  });

  test("a change that waits is counted with what the turn has added", async () => {
    await using store = await temporaryStore();
    const { database } = store;
    const id = await aSession(database);
    const turn = await aRunningTurn(database, id);
    await override(database, id, { backend: "blind" });
    await aConversation(database, id);

    await endTurn(database, { ...turn, outcome: "completed" });

    expect((await updatesOf(database, id)).at(-1)?.notCarried).toHaveLength(3);
  });
});

/** Two images, a file, two thoughts of the openai backend and one of nobody's; and a text that looks like an image. */
async function aConversation(database: Database, id: SessionId): Promise<void> {
  const image = { type: "image" as const, url: "https://example.com/a.png" };
  const thought = { type: "thinking" as const, text: "hm", opaque: { backend: "openai", item: {} } };
  await database.write(async (tx) => {
    await appendMessages(tx, id, [
      { role: "user", blocks: [image, image, { type: "file", filename: "a.pdf", url: "https://example.com/a.pdf" }] },
      { role: "assistant", blocks: [thought, { type: "text", text: '"type":"image"' }] },
      { role: "assistant", blocks: [thought, { type: "thinking", text: "aloud" }] },
    ]);
  });
}
