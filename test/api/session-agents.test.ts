/** Sessions of stored agents: what is pinned, what a repeat finds, and what PATCH moves on purpose. */
import { describe, expect, test } from "vitest";
import type { SessionId, TurnId } from "../../contract/ids.ts";
import { newId } from "../../contract/ids.ts";
import { beginStep } from "../../store/steps.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import { announceWorker } from "../../store/workers.ts";
import { ApiWorld } from "../support/api-world.ts";

const TOOL = { name: "pick_file", description: "Lets the user pick one." };

async function put(world: ApiWorld, id: string, agent: object = {}): Promise<void> {
  const { status } = await world.call(`PUT /v1/agents/${id}`, { json: { name: id, ...agent } });
  expect(status).toBe(201);
}

async function aRunningTurn(world: ApiWorld, sessionId: SessionId): Promise<TurnIds> {
  const { body } = await world.call(`POST /v1/sessions/${sessionId}/messages`, {
    json: { content: "go", id: newId("msg") },
  });
  const ids = { sessionId, messageId: String(body["messageId"]), turnId: body["turnId"] as TurnId };
  await beginStep(world.store.database, { ...ids, step: 1 }, undefined);
  return ids;
}

const errorsOf = (body: Record<string, unknown>) => (body["errors"] ?? []) as { path: string; message: string }[];

describe("a session of a stored agent", () => {
  test("pins its newest version, or the one that is named; later ones change nothing", async () => {
    await using world = await ApiWorld.start();
    await put(world, "coder", { model: "one" });
    await put(world, "coder", { model: "two" });

    const newest = await world.call("POST /v1/sessions", { json: { id: "s1", agent: "coder" } });
    const named = await world.call("POST /v1/sessions", { json: { agent: { id: "coder", version: 1 } } });
    await put(world, "coder", { model: "three" });

    expect(newest.body).toMatchObject({ agentRef: { id: "coder", version: 2 }, agent: { model: "two" } });
    expect(named.body).toMatchObject({ agentRef: { id: "coder", version: 1 }, agent: { model: "one" } });
    expect((await world.call("GET /v1/sessions/s1")).body).toMatchObject({ agent: { model: "two" } });
    expect(world.sessions.started.get("s1")?.agent.name).toBe("coder");
  });

  test("says differently what its overrides and their short forms say", async () => {
    await using world = await ApiWorld.start();
    const modelSettings = { temperature: 1, topP: 0.5 };
    await put(world, "coder", { model: "one", modelSettings, limits: { stepsPerTurn: 5, modelAttempts: 2 } });

    const overrides = { instructions: "be brief", modelSettings: { temperature: 0 }, limits: { stepsPerTurn: 9 } };
    const { body } = await world.call("POST /v1/sessions", { json: { agent: "coder", model: "two", overrides } });

    expect(body["agent"]).toMatchObject({
      name: "coder",
      instructions: "be brief",
      model: "two",
      modelSettings: { temperature: 0, topP: 0.5 },
      limits: { stepsPerTurn: 9, modelAttempts: 2 },
      policy: { rules: [] },
    });
  });

  test("asks by default, and one of an agent that is written out allows all", async () => {
    await using world = await ApiWorld.start();
    await put(world, "coder");

    const stored = await world.call("POST /v1/sessions", { json: { agent: "coder" } });
    const inline = await world.call("POST /v1/sessions", { json: { agent: { name: "coder" } } });

    expect(stored.body["agent"]).toMatchObject({ policy: { rules: [] } });
    expect(inline.body["agent"]).not.toHaveProperty("policy");
    expect(inline.body["agentRef"]).toBeNull();
  });

  test("pins the agents that it may hand over to", async () => {
    await using world = await ApiWorld.start();
    await put(world, "helper");
    await put(world, "coder", { handoffs: [{ agent: "helper" }] });

    const stored = await world.call("POST /v1/sessions", { json: { agent: "coder" } });
    const inline = await world.call("POST /v1/sessions", { json: { agent: { handoffs: [{ agent: "helper" }] } } });

    for (const { body } of [stored, inline]) {
      expect(body["agent"]).toMatchObject({ handoffs: [{ agent: "helper", version: 1 }] });
    }
  });

  test.each([
    ["an unknown agent", "nobody"],
    ["an unknown agent by its id", { id: "nobody" }],
    ["a version that is not there", { id: "coder", version: 9 }],
    ["a deleted agent", "gone"],
  ])("cannot be had of %s", async (_what, agent) => {
    await using world = await ApiWorld.start();
    await put(world, "coder");
    await put(world, "gone");
    await world.call("DELETE /v1/agents/gone");

    const refused = await world.call("POST /v1/sessions", { json: { id: "s", agent } });

    expect(refused).toMatchObject({ status: 404, body: { code: "AGENT_NOT_FOUND" } });
    expect((await world.call("GET /v1/sessions/s")).status).toBe(404);
  });

  test("is found by its agent's id and by its name", async () => {
    await using world = await ApiWorld.start();
    await put(world, "coder", { name: "The coder" });
    const id = await world.createSession({ agent: "coder" });
    await world.createSession();

    for (const query of ["coder", "The%20coder"]) {
      expect((await world.call(`GET /v1/sessions?agent=${query}`)).body).toMatchObject({ sessions: [{ id }] });
    }
  });
});

describe("the same request again", () => {
  test("finds its session though the agent has a newer version, or is gone, or its tool's worker is", async () => {
    await using world = await ApiWorld.start();
    const announcement = {
      tools: [{ name: "lookup", description: "", source: "mine", changesWorld: false }],
      backends: [],
    };
    await announceWorker(world.store.database, { id: "w", announcement });
    await put(world, "coder", { model: "one" });
    const json = { id: "s", agent: "coder", overrides: { tools: ["lookup"] } };
    expect((await world.call("POST /v1/sessions", { json })).status).toBe(201);

    await put(world, "coder", { model: "two" });
    const newer = await world.call("POST /v1/sessions", { json });
    await world.call("DELETE /v1/agents/coder");
    await world.store.database.write((tx) => tx.deleteFrom("workers").execute());
    const gone = await world.call("POST /v1/sessions", { json: { ...json, agent: { id: "coder" } } });

    for (const { status, body } of [newer, gone]) {
      expect({ status, body }).toMatchObject({ status: 200, body: { id: "s", agent: { model: "one" } } });
    }
  });

  test("finds its session after that was changed", async () => {
    await using world = await ApiWorld.start();
    const json = { id: "s", title: "t" };
    await world.call("POST /v1/sessions", { json });
    await world.call("PATCH /v1/sessions/s", { json: { model: "two", title: "u" } });

    expect(await world.call("POST /v1/sessions", { json })).toMatchObject({ status: 200, body: { title: "u" } });
  });

  test.each([
    ["another agent", { agent: "other" }],
    ["another version", { agent: { id: "coder", version: 1 } }],
    ["overrides", { agent: "coder", overrides: { model: "m" } }],
    ["a short form", { agent: "coder", model: "m" }],
    ["client tools", { agent: "coder", clientTools: [TOOL] }],
    ["no agent", {}],
  ])("with %s is a conflict", async (_what, other) => {
    await using world = await ApiWorld.start();
    await put(world, "coder");
    await put(world, "other");
    await world.createSession({ id: "s", agent: "coder" });

    const refused = await world.call("POST /v1/sessions", { json: { id: "s", ...other } });

    expect(refused).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  });

  test("an override and its short form are the same", async () => {
    await using world = await ApiWorld.start();
    await put(world, "coder");
    await world.createSession({ id: "s", agent: "coder", model: "m" });

    const again = await world.call("POST /v1/sessions", {
      json: { id: "s", agent: "coder", overrides: { model: "m" } },
    });

    expect(again.status).toBe(200);
  });
});

describe("a request that cannot be", () => {
  test.each<[string, object, string]>([
    ["an id that is none", { agent: { id: "a b" } }, "/agent/id"],
    ["an id that is none, alone", { agent: "a b" }, "/agent"],
    ["a version of 0", { agent: { id: "coder", version: 0 } }, "/agent/version"],
    ["an id and a field of an agent", { agent: { id: "coder", model: "m" } }, "/agent/model"],
    ["a wrong type in an agent", { agent: { instructions: 5 } }, "/agent/instructions"],
    ["an unknown field of an agent", { agent: { colour: "red" } }, "/agent/colour"],
    ["an agent that is a number", { agent: 5 }, "/agent"],
    ["an unknown backend", { agent: { backend: "x" } }, "/agent/backend"],
    ["an unknown backend in short", { agent: "coder", backend: "x" }, "/backend"],
    ["an unknown backend in overrides", { agent: "coder", overrides: { backend: "x" } }, "/overrides/backend"],
    ["an unknown tool in overrides", { agent: "coder", overrides: { tools: ["x"] } }, "/overrides/tools/0"],
    [
      "a setting of another backend",
      { backend: "copilot", agent: { modelSettings: { api: "responses" } } },
      "/agent/modelSettings/api",
    ],
    [
      "a setting of another backend in overrides",
      { agent: "coder", backend: "copilot", overrides: { modelSettings: { api: "responses" } } },
      "/overrides/modelSettings/api",
    ],
    ["a backend that cannot take what the agent sets", { agent: "coder", backend: "copilot" }, "/backend"],
    ["overrides of what has none", { agent: "coder", overrides: { name: "x" } }, "/overrides/name"],
    ["a client tool that the agent has", { clientTools: [{ name: "bash" }] }, "/clientTools/0/name"],
    ["a client tool twice", { clientTools: [TOOL, TOOL] }, "/clientTools/1/name"],
    ["a client tool for handing over", { clientTools: [{ name: "transfer_to_x" }] }, "/clientTools/0/name"],
    [
      "a client tool whose schema is none",
      { clientTools: [{ ...TOOL, parameters: { type: "objekt" } }] },
      "/clientTools/0/parameters",
    ],
    ["a message of another type", { message: { content: 5 } }, "/message/content"],
    ["an unknown mode", { message: { content: "x", mode: "later" } }, "/message/mode"],
  ])("%s is refused in its place", async (_what, json, path) => {
    await using world = await ApiWorld.start();
    await put(world, "coder", { modelSettings: { api: "responses" } });

    const { status, body } = await world.call("POST /v1/sessions", { json });

    expect({ status, paths: errorsOf(body).map((error) => error.path) }).toEqual({ status: 400, paths: [path] });
  });

  test("a model that no worker lists is taken: providers know names that they do not list", async () => {
    await using world = await ApiWorld.start();
    const backends = [{ name: "openai", defaultModel: null, models: [{ id: "gpt-5" }], validation: null }];
    await announceWorker(world.store.database, { id: "w", announcement: { tools: [], backends } });

    expect((await world.call("POST /v1/sessions", { json: { model: "an-alias" } })).status).toBe(201);
  });
});

describe("changing a session", () => {
  test("between turns is done at once, and said in its events", async () => {
    await using world = await ApiWorld.start();
    await put(world, "coder", { model: "one" });
    const id = await world.createSession({ clientTools: [TOOL] });

    const changed = await world.call(`PATCH /v1/sessions/${id}`, {
      json: {
        agent: "coder",
        overrides: { instructions: "x" },
        model: "two",
        clientTools: [],
        title: "T",
        metadata: { a: "1" },
      },
    });

    const agent = { model: "two", instructions: "x", name: "coder" };
    const shown = { agent, agentRef: { id: "coder", version: 1 }, clientTools: [], title: "T", metadata: { a: "1" } };
    expect(changed).toMatchObject({ status: 200, body: { applied: true, ...shown } });
    const { body } = await world.call(`GET /v1/sessions/${id}/events?after=1`);
    expect(body["events"]).toMatchObject([{ type: "session.updated", agent: "coder", model: "two" }]);
  });

  test("in a turn waits for the turn's end", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const turn = await aRunningTurn(world, id);

    const changed = await world.call(`PATCH /v1/sessions/${id}`, { json: { backend: "copilot", model: "two" } });
    expect(changed.body).toMatchObject({ applied: false, agent: { backend: "openai" } });

    await endTurn(world.store.database, { ...turn, outcome: "completed" });
    const { body } = await world.call(`GET /v1/sessions/${id}`);
    expect(body).toMatchObject({ agent: { backend: "copilot", model: "two" } });
  });

  test("to a backend that takes less lets its settings go, and says so", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession({ agent: { modelSettings: { api: "responses", temperature: 1 } } });

    const { body } = await world.call(`PATCH /v1/sessions/${id}`, { json: { backend: "copilot" } });

    expect(body["agent"]).toMatchObject({ modelSettings: { temperature: 1 } });
    const events = (await world.call(`GET /v1/sessions/${id}/events?after=1`)).body["events"];
    expect(events).toMatchObject([{ notCarried: [{ what: "modelSettings.api", count: 1 }] }]);
  });

  test("twice, or with nothing, changes nothing more", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const json = { model: "two" };

    const first = await world.call(`PATCH /v1/sessions/${id}`, { json });
    const second = await world.call(`PATCH /v1/sessions/${id}`, { json });
    const third = await world.call(`PATCH /v1/sessions/${id}`, { json: {} });

    expect(second.body).toEqual(first.body);
    expect(third.body).toEqual(first.body);
  });

  test.each<[string, object, string]>([
    ["an agent that is written out", { agent: { instructions: "x" } }, "/agent/id"],
    ["an unknown backend", { backend: "x" }, "/backend"],
    ["an unknown tool", { overrides: { tools: ["x"] } }, "/overrides/tools/0"],
    ["a tool that the client has", { overrides: { tools: ["pick_file"] } }, "/overrides/tools/0"],
    ["an agent with a tool that the client has", { agent: "picker" }, "/agent"],
    ["client tools that the agent has", { clientTools: [{ name: "bash" }] }, "/clientTools/0/name"],
    [
      "a policy that cannot parse",
      { overrides: { policy: { rules: [{ tool: "*", action: "maybe" }] } } },
      "/overrides/policy/rules/0/action",
    ],
    ["an unknown field", { colour: "red" }, "/colour"],
    [
      "a setting that its backend does not take",
      { backend: "copilot", overrides: { modelSettings: { api: "responses" } } },
      "/overrides/modelSettings/api",
    ],
  ])("to %s is refused, and nothing of it is done", async (_what, json, path) => {
    await using world = await ApiWorld.start();
    const tools = [{ name: "pick_file", description: "", source: "mine", changesWorld: false }];
    await announceWorker(world.store.database, { id: "w", announcement: { tools, backends: [] } });
    await put(world, "picker", { tools: ["pick_file"] });
    await world.store.database.write((tx) => tx.deleteFrom("workers").execute());
    const id = await world.createSession({ clientTools: [TOOL] });

    const { status, body } = await world.call(`PATCH /v1/sessions/${id}`, { json: { title: "T", ...json } });

    expect(status).toBe(400);
    expect(errorsOf(body).map((error) => error.path)).toContain(path);
    expect((await world.call(`GET /v1/sessions/${id}`)).body).toMatchObject({ title: null });
  });

  test("that is unknown, closed, or to an agent that is not there, is refused", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const patch = async (of: string, json: object) =>
      (await world.call(`PATCH /v1/sessions/${of}`, { json })).body["code"];

    expect(await patch("nobody", { title: "T" })).toBe("SESSION_NOT_FOUND");
    expect(await patch(id, { agent: "nobody" })).toBe("AGENT_NOT_FOUND");
    await world.call(`POST /v1/sessions/${id}/close`, { json: {} });
    expect(await patch(id, { title: "T" })).toBe("SESSION_CLOSED");
  });
});
