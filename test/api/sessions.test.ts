/** Making, listing and looking at sessions over HTTP. */
import { describe, expect, test } from "vitest";
import { closeSession } from "../../store/session-closing.ts";
import { ApiWorld } from "../support/api-world.ts";

describe("making a session", () => {
  test("an empty body makes a session with every default, and starts its workflow", async () => {
    await using world = await ApiWorld.start();

    const made = await world.call("POST /v1/sessions");

    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({
      status: "idle",
      title: null,
      lastSeq: 1,
      agent: { name: "default", backend: "openai" },
    });
    expect([...world.sessions.started.keys()]).toEqual([made.body["id"]]);
  });

  test("backend and model at the top win over the agent's", async () => {
    await using world = await ApiWorld.start();

    const made = await world.call("POST /v1/sessions", {
      json: { model: "gpt-6", agent: { model: "gpt-5", name: "a" } },
    });

    expect(made.body).toMatchObject({ agent: { model: "gpt-6", name: "a" } });
  });

  test("the same id again is the same session, with 200", async () => {
    await using world = await ApiWorld.start();
    const first = await world.call("POST /v1/sessions", { json: { id: "mine", title: "One" } });

    const again = await world.call("POST /v1/sessions", { json: { id: "mine", title: "One" } });

    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body).toEqual(first.body);
  });

  test("the same id with another title is a conflict", async () => {
    await using world = await ApiWorld.start();
    await world.call("POST /v1/sessions", { json: { id: "mine", title: "One" } });

    const other = await world.call("POST /v1/sessions", { json: { id: "mine", title: "Two" } });

    expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  });

  test("a first message is taken with the session, and only once when the request is repeated", async () => {
    await using world = await ApiWorld.start();
    const request = { json: { message: "hello" }, headers: { "idempotency-key": "k1" } };

    const first = await world.call("POST /v1/sessions", request);
    const again = await world.call("POST /v1/sessions", request);

    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body["message"]).toEqual(first.body["message"]);
    expect(first.body["status"]).toBe("running");
    expect(world.sessions.submitted).toHaveLength(1);
  });

  test("a chosen id repeats its first message too", async () => {
    await using world = await ApiWorld.start();
    const request = { json: { id: "mine", message: { content: "hello" } } };

    await world.call("POST /v1/sessions", request);
    await world.call("POST /v1/sessions", request);

    expect(world.sessions.submitted).toHaveLength(1);
  });

  test("while Temporal is away a session is made all the same", async () => {
    await using world = await ApiWorld.start();
    world.sessions.fail("unreachable", "start");

    const made = await world.call("POST /v1/sessions", { json: {} });

    expect(made.status).toBe(201);
  });

  test.each([
    ["an unknown field", { colour: "red" }, "/colour"],
    ["an unknown field of the agent", { agent: { limits: { steps: 1 } } }, "/agent/limits/steps"],
    ["an unknown field of the first message", { message: { content: "x", mood: 1 } }, "/message/mood"],
    ["an unknown field of a block", { message: [{ type: "text", text: "x", bold: true }] }, "/message/0/bold"],
    ["a wrong type", { title: 5 }, "/title"],
    ["a limit above its ceiling", { agent: { limits: { stepsPerTurn: 1e9 } } }, "/agent/limits/stepsPerTurn"],
    ["an id with ..", { id: "../etc" }, "/id"],
    ["an artifact folder outside", { agent: { artifacts: ["../out"] } }, "/agent/artifacts/0"],
    ["an unknown tool", { agent: { tools: ["rm"] } }, "/agent/tools/0"],
    ["a sandbox's wrong type", { sandbox: { provider: "docker", cpu: "1" } }, "/sandbox/cpu"],
    ["a sandbox of an unknown provider", { sandbox: { provider: "moon" } }, "/sandbox/provider"],
    ["a sandbox by an unknown name", { sandbox: "moon" }, "/sandbox"],
    ["a sandbox's variable without a name", { sandbox: { environment: { "A B": "x" } } }, "/sandbox/environment/A B"],
  ])("%s is refused with its place", async (_what, json, path) => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", { json });

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path }] } });
  });

  test("an Idempotency-Key that no header should hold is refused", async () => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", { json: {}, headers: { "idempotency-key": "a b" } });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/headers/idempotency-key" }] } });
  });
});

describe("looking at sessions", () => {
  test("a session shows its workflow's progress", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.snapshot = { ...world.sessions.snapshot, turns: 7 };

    const shown = await world.call(`GET /v1/sessions/${id}`);

    expect(shown.body).toMatchObject({ id, progress: { turns: 7 } });
  });

  test("without a worker the progress is null, and the session is shown", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.fail("unanswered", "progress");

    const shown = await world.call(`GET /v1/sessions/${id}`);

    expect(shown).toMatchObject({ status: 200, body: { id, progress: null } });
  });

  test.each([
    ["unknown", "ses_unknown", 404, "SESSION_NOT_FOUND"],
    ["with two dots", "a..b", 400, "INVALID_INPUT"],
    ["with an encoded slash", "a%2fb", 400, "INVALID_INPUT"],
    ["that is no UTF-8", "%ff", 400, "INVALID_INPUT"],
  ])("an id %s is refused", async (_what, id, status, code) => {
    await using world = await ApiWorld.start();

    const refused = await world.call(`GET /v1/sessions/${id}`);

    expect(refused).toMatchObject({ status, body: { code } });
  });

  test("pages go through all sessions, newest first, each once", async () => {
    await using world = await ApiWorld.start();
    const made: string[] = [];
    for (let n = 0; n < 5; n++) made.unshift(await world.createSession({ id: `s${n}` }));

    const seen: string[] = [];
    let cursor = "";
    for (let page = 0; page < 5; page++) {
      const { body } = await world.call(`GET /v1/sessions?limit=2${cursor}`);
      seen.push(...(body["sessions"] as { id: string }[]).map((session) => session.id));
      if (body["next"] === null) break;
      cursor = `&cursor=${String(body["next"])}`;
    }

    expect([...seen].sort()).toEqual([...made].sort());
  });

  test("filters by status, agent and metadata hold together", async () => {
    await using world = await ApiWorld.start();
    await world.createSession({ id: "a", agent: { name: "coder" }, metadata: { team: "x", tier: "1" } });
    await world.createSession({ id: "b", agent: { name: "coder" }, metadata: { team: "y" } });
    await world.createSession({ id: "c", metadata: { team: "x" } });
    await closeSession(world.store.database, "c");
    const ids = async (query: string): Promise<string[]> => {
      const { body } = await world.call(`GET /v1/sessions?${query}`);
      return (body["sessions"] as { id: string }[]).map((session) => session.id).sort();
    };

    expect(await ids("metadata.team=x")).toEqual(["a", "c"]);
    expect(await ids("metadata.team=x&metadata.tier=1")).toEqual(["a"]);
    expect(await ids("agent=coder&metadata.team=y")).toEqual(["b"]);
    expect(await ids("status=closed")).toEqual(["c"]);
  });

  test.each([
    ["colour=red", "/query/colour"],
    ["metadata=x", "/query/metadata"],
    ["limit=0", "/query/limit"],
    ["limit=1e2", "/query/limit"],
    ["limit=5&limit=6", "/query/limit"],
    ["status=asleep", "/query/status"],
    ["cursor=nonsense", "/query/cursor"],
  ])("?%s is refused by its name", async (query, path) => {
    await using world = await ApiWorld.start();

    const refused = await world.call(`GET /v1/sessions?${query}`);

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path }] } });
  });
});
