/** Agents over HTTP: made, put, read, deleted; and everything that is wrong with one, said at once and in its place. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { announceWorker } from "../../store/workers.ts";
import { ApiWorld } from "../support/api-world.ts";

const AGENT = { name: "Code Reviewer", instructions: "Review." };

interface Fault {
  readonly path: string;
  readonly message: string;
}

describe("making an agent", () => {
  test("its id is made from its name, and the same again finds it", async () => {
    await using world = await ApiWorld.start();

    const made = await world.call("POST /v1/agents", { json: AGENT });
    const again = await world.call("POST /v1/agents", { json: { ...AGENT, id: "code-reviewer" } });

    expect(made).toMatchObject({ status: 201, body: { id: "code-reviewer", version: 1, source: "api" } });
    expect(made.headers.get("etag")).toBe('"1"');
    expect(again).toMatchObject({ status: 200, body: made.body });
  });

  test.for([
    ["Ärzte & Co. (2)", "arzte-co-2"],
    ["  --x_Y--  ", "x_y"],
    ["a".repeat(100), "a".repeat(64)],
  ] as const)("the name %j gives the id %j", async ([name, id]) => {
    await using world = await ApiWorld.start();

    expect(await world.call("POST /v1/agents", { json: { name } })).toMatchObject({ status: 201, body: { id } });
  });

  test("a name without a letter of ours gets an id of its own, and with an Idempotency-Key the same one again", async () => {
    await using world = await ApiWorld.start();
    const make = async (key?: string) => {
      const { body } = await world.call("POST /v1/agents", {
        json: { name: "研究者" },
        headers: key === undefined ? {} : { "idempotency-key": key },
      });
      return body["id"];
    };

    expect(await make("k")).toBe(await make("k"));
    expect(await make()).toMatch(/^agent_/);
    expect(await make()).not.toBe(await make());
  });

  test("other content under the id is a 409 that says to PUT", async () => {
    await using world = await ApiWorld.start();
    await world.call("POST /v1/agents", { json: AGENT });

    const refused = await world.call("POST /v1/agents", { json: { ...AGENT, model: "m" } });

    expect(refused).toMatchObject({ status: 409, body: { code: "CONFLICT", detail: expect.stringContaining("PUT") } });
  });

  test("the old name of the model's settings is taken, and shown as the new one", async () => {
    await using world = await ApiWorld.start();

    const { body } = await world.call("POST /v1/agents", { json: { name: "a", backendOptions: { temperature: 1 } } });

    expect(body).toMatchObject({ agent: { modelSettings: { temperature: 1 }, policy: { rules: [] } } });
  });
});

describe("putting an agent", () => {
  test("makes versions, of which each can be read; without one, the newest", async () => {
    await using world = await ApiWorld.start();
    const put = (json: object) => world.call("PUT /v1/agents/a", { json });

    expect((await put({ name: "one" })).status).toBe(201);
    expect((await put({ name: "two" })).body).toMatchObject({ version: 2 });
    expect(await put({ name: "two" })).toMatchObject({ status: 200, body: { version: 2 } });

    expect((await world.call("GET /v1/agents/a")).body).toMatchObject({ version: 2, agent: { name: "two" } });
    expect((await world.call("GET /v1/agents/a?version=1")).body).toMatchObject({ agent: { name: "one" } });
    const { body } = await world.call("GET /v1/agents/a/versions");
    expect(body).toMatchObject({ agents: [{ version: 2 }, { version: 1 }], next: null });
  });

  test("at once by many makes as many versions", async () => {
    await using world = await ApiWorld.start();

    const made = await Promise.all(
      Array.from({ length: 8 }, (_, i) => world.call("PUT /v1/agents/a", { json: { name: `n${i}` } })),
    );

    expect(new Set(made.map(({ body }) => body["version"]))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
  });

  test("with If-Match only follows that version", async () => {
    await using world = await ApiWorld.start();
    const put = (name: string, version: string) =>
      world.call("PUT /v1/agents/a", { json: { name }, headers: { "if-match": version } });
    await world.call("PUT /v1/agents/a", { json: { name: "one" } });

    expect(await put("two", '"1"')).toMatchObject({ status: 201, body: { version: 2 } });
    expect(await put("three", '"1"')).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
    expect(await put("three", "newest")).toMatchObject({
      status: 400,
      body: { errors: [{ path: "/headers/if-match" }] },
    });
  });

  test.each([
    ["no name", {}, "/name"],
    ["an id, which the path has", { name: "a", id: "a" }, "/id"],
  ])("with %s is refused", async (_what, json, path) => {
    await using world = await ApiWorld.start();

    expect(await world.call("PUT /v1/agents/a", { json })).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });
});

describe("what is not there", () => {
  test.each(["GET /v1/agents/a", "GET /v1/agents/a?version=1", "GET /v1/agents/a/versions", "DELETE /v1/agents/a"])(
    "%s is a 404",
    async (route) => {
      await using world = await ApiWorld.start();

      expect(await world.call(route)).toMatchObject({ status: 404, body: { code: "AGENT_NOT_FOUND" } });
    },
  );

  test.each([
    ["GET /v1/agents/a%2fb", "/path/agentId"],
    ["GET /v1/agents/a?version=0", "/query/version"],
    ["GET /v1/agents?limit=0", "/query/limit"],
    ["GET /v1/agents?cursor=%00", "/query/cursor"],
    ["GET /v1/agents/a/versions?cursor=eA", "/query/cursor"],
  ])("%s is refused by its name", async (route, path) => {
    await using world = await ApiWorld.start();

    expect(await world.call(route)).toMatchObject({ status: 400, body: { errors: [{ path }] } });
  });

  test("a deleted agent is a 404 in a list and by its id, and still there by its version", async () => {
    await using world = await ApiWorld.start();
    await world.call("PUT /v1/agents/a", { json: { name: "one" } });

    expect((await world.call("DELETE /v1/agents/a")).status).toBe(204);
    expect((await world.call("DELETE /v1/agents/a")).status).toBe(204);

    expect((await world.call("GET /v1/agents/a")).status).toBe(404);
    expect((await world.call("GET /v1/agents")).body).toMatchObject({ agents: [] });
    expect((await world.call("GET /v1/agents/a?version=1")).body).toMatchObject({ deletedAt: expect.any(Number) });
  });

  test("pages go through all agents, each once", async () => {
    await using world = await ApiWorld.start();
    for (const id of ["e", "a", "c", "b", "d"]) await world.call(`PUT /v1/agents/${id}`, { json: { name: id } });

    const seen: string[] = [];
    let next: unknown = "";
    while (next !== null && seen.length < 10) {
      const cursor = next === "" ? "" : `&cursor=${String(next)}`;
      const { body } = await world.call(`GET /v1/agents?limit=2${cursor}`);
      seen.push(...(body["agents"] as { id: string }[]).map(({ id }) => id));
      next = body["next"];
    }

    expect(seen).toEqual(["a", "b", "c", "d", "e"]);
  });
});

describe("an agent that cannot work", () => {
  test.each<[string, object, string, RegExp]>([
    ["an unknown backend", { backend: "opnai" }, "/backend", /expected one of openai.*found opnai/],
    ["an unknown tool", { tools: ["bash", "bsh"] }, "/tools/1", /no running worker has this tool.*bash/],
    ["a tool twice", { tools: ["bash", "grep", "bash"] }, "/tools/2", /twice/],
    ["a tool that is named like a handoff", { tools: ["transfer_to_b"] }, "/tools/0", /for handing over/],
    [
      "a setting that the backend does not take",
      { backend: "copilot", modelSettings: { api: "responses" } },
      "/modelSettings/api",
      /copilot backend takes no api; it takes temperature/,
    ],
    [
      "the same by its old name",
      { backend: "copilot", backendOptions: { api: "responses" } },
      "/backendOptions/api",
      /takes no/,
    ],
    [
      "a schema that does not compile",
      { outputSchema: { type: "object", properties: { a: { type: "text" } } } },
      "/outputSchema",
      /cannot be used/,
    ],
    [
      "a schema that points elsewhere",
      { outputSchema: { $ref: "https://example.com/x" } },
      "/outputSchema",
      /cannot be used/,
    ],
    ["a schema of a list", { outputSchema: { type: "array" } }, "/outputSchema", /"object" at its top/],
    [
      "a variable that looks like a secret",
      { environment: { DB_TOKEN: "x" } },
      "/environment/DB_TOKEN",
      /like a secret/,
    ],
    ["a variable of no usable name", { environment: { "A B": "x" } }, "/environment/A B", /a variable's name/],
    ["a variable that no command can get", { environment: { A: "a\0b" } }, "/environment/A", /no NUL/],
    ["a file that is the workspace", { files: [aFile(".")] }, "/files/0/path", /a folder's/],
    ["a file twice", { files: [aFile("a"), aFile("./a")] }, "/files/1/path", /twice/],
    ["a file that is a folder too", { files: [aFile("a"), aFile("a/b")] }, "/files/0/path", /folder of another/],
    ["too many bytes of files", { files: [aFile("a", LIMITS.agentFilesBytesMax), aFile("b", 1)] }, "/files", /at most/],
    ["a handoff to nobody", { handoffs: [{ agent: "nobody" }] }, "/handoffs/0/agent", /no agent nobody/],
    [
      "a handoff to a version that is not there",
      { handoffs: [{ agent: "other", version: 2 }] },
      "/handoffs/0/agent",
      /in version 2/,
    ],
    ["a handoff to itself", { id: "me", handoffs: [{ agent: "me" }] }, "/handoffs/0/agent", /to itself/],
    ["a handoff twice", { handoffs: [{ agent: "other" }, { agent: "other" }] }, "/handoffs/1/agent", /twice/],
    [
      "a handoff whose tool no provider takes",
      { handoffs: [{ agent: "x".repeat(53) }] },
      "/handoffs/0/agent",
      /at most 52/,
    ],
  ])("by %s", async (_what, agent, path, message) => {
    await using world = await ApiWorld.start();
    await world.call("PUT /v1/agents/other", { json: { name: "other" } });

    const { status, body } = await world.call("POST /v1/agents", { json: { name: "a", ...agent } });

    expect(status).toBe(400);
    expect(faultsOf(body)).toEqual([{ path, message: expect.stringMatching(message) }]);
    expect((await world.call("GET /v1/agents")).body).toMatchObject({ agents: [{ id: "other" }] });
  });

  test.each<[string, object, RegExp]>([
    [
      "a glob that escapes",
      { tool: "write_file", arguments: { path: "../x" }, action: "allow" },
      /^\/policy\/rules\/0\/arguments\/path/,
    ],
  ])("by a policy with %s", async (_what, rule, path) => {
    await using world = await ApiWorld.start();

    const { status, body } = await world.call("POST /v1/agents", { json: { name: "a", policy: { rules: [rule] } } });

    expect(status).toBe(400);
    expect(faultsOf(body)[0]?.path).toMatch(path);
  });

  test("all of it is said in one answer", async () => {
    await using world = await ApiWorld.start();

    const { body } = await world.call("POST /v1/agents", {
      json: { name: "a", backend: "x", tools: ["bsh"], outputSchema: { type: "array" }, handoffs: [{ agent: "b" }] },
    });

    expect(pathsOf(body)).toEqual(["/backend", "/outputSchema", "/handoffs/0/agent", "/tools/0"]);
  });
});

describe("what running workers say", () => {
  test("their tools may be named, and a model that none of them lists may not", async () => {
    await using world = await ApiWorld.start();
    const announcement = {
      tools: [{ name: "lookup", description: "", source: "mine", changesWorld: false }],
      backends: [
        { name: "openai", defaultModel: null, models: [{ id: "gpt-5" }, { id: "gpt-5-mini" }], validation: null },
      ],
    };
    await announceWorker(world.store.database, { id: "w1", announcement });
    const post = (agent: object) => world.call("POST /v1/agents", { json: { name: "a", ...agent } });

    const refused = await post({ tools: ["lookup"], model: "gpt-6" });
    expect(faultsOf(refused.body)).toEqual([{ path: "/model", message: expect.stringContaining("gpt-5, gpt-5-mini") }]);
    expect((await post({ tools: ["lookup"], model: "gpt-5" })).status).toBe(201);
  });

  test("of a backend that lists no models, any may be named", async () => {
    await using world = await ApiWorld.start();
    const backends = [{ name: "openai", defaultModel: null, models: [], validation: null }];
    await announceWorker(world.store.database, { id: "w1", announcement: { tools: [], backends } });

    const { status } = await world.call("POST /v1/agents", { json: { name: "a", model: "anything" } });

    expect(status).toBe(201);
  });
});

function faultsOf(body: Record<string, unknown>): readonly Fault[] {
  return (body["errors"] ?? []) as Fault[];
}

function pathsOf(body: Record<string, unknown>): readonly string[] {
  return faultsOf(body).map(({ path }) => path);
}

function aFile(path: string, bytes = 1): object {
  return { path, data: Buffer.alloc(bytes, "x").toString("base64") };
}
