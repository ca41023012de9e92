/** Callers' commands at the API's edge: committed first, delivered once a workflow can be reached, listed, and stopped. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { CallId, SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { beginCommand, endCommand } from "../../store/commands.ts";
import { closeSession } from "../../store/session-closing.ts";
import { endStep } from "../../store/steps.ts";
import { aCall, aMessage, anEnding, aStep, typesOf } from "../store/store-builder.ts";
import { ApiWorld, until } from "../support/api-world.ts";

let world: ApiWorld;
let id: SessionId;
beforeAll(async () => {
  world = await ApiWorld.start();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});
beforeEach(async () => {
  world.sessions.recover();
  id = await world.createSession();
  world.sessions.commands.length = 0;
  world.sessions.stopped.length = 0;
});

const post = (json: unknown, query = "", headers = {}) =>
  world.call(`POST /v1/sessions/${id}/commands${query}`, { json, headers });
const stop = (callId: unknown) => world.call(`DELETE /v1/sessions/${id}/commands/${callId}`);
const get = (callId: unknown) => world.call(`GET /v1/sessions/${id}/commands/${callId}`);

/** What this session's workflows were told: open commands of the other tests' sessions are delivered again and again. */
const delivered = () => world.sessions.commands.filter(({ sessionId }) => sessionId === id);

/** Ends it as a worker would. */
async function end(callId: unknown, text = "printed"): Promise<void> {
  const begun = await begin(callId);
  const ending = { outcome: "ok" as const, exitCode: 0, text, facts: [], attempt: undefined };
  await endCommand(world.store.database, begun, ending);
}

async function begin(callId: unknown) {
  const begun = await beginCommand(world.store.database, { sessionId: id, callId: callId as CallId }, undefined);
  if (begun.state !== "begun") throw new Error("it has ended");
  return begun;
}

describe("a command", () => {
  test("is a row before a workflow hears of it, and is found as it is", async () => {
    const made = await post({ command: "npm test", cwd: "app", env: { CI: "1" }, input: "typed", timeoutMs: 5_000 });

    expect(made).toMatchObject({
      status: 202,
      body: { command: "npm test", cwd: "app", timeoutMs: 5_000, state: "planned", outcome: null, result: null },
    });
    expect(delivered()).toEqual([{ sessionId: id, callId: made.body["id"] }]);
    expect((await get(made.body["id"])).body).toEqual(made.body);
    const begun = await begin(made.body["id"]);
    expect(begun.request).toMatchObject({ env: { CI: "1" }, input: "typed" });
  });

  test("is answered with its end when that comes in time", async () => {
    const answered = post({ command: "true", id: "call_waited" }, "?wait=10s");
    await until(() => world.sessions.commands.length === 1);
    await end("call_waited", "all of it");

    expect(await answered).toMatchObject({
      status: 200,
      body: { state: "done", outcome: "ok", exitCode: 0, result: "all of it" },
    });
  });

  test("that takes longer than the wait is answered as it is", async () => {
    expect(await post({ command: "sleep 9" }, "?wait=50ms")).toMatchObject({ status: 202, body: { state: "planned" } });
  });

  test.each([
    ["of one id", { id: "call_own" }, {}],
    ["of one Idempotency-Key", {}, { "idempotency-key": "once" }],
  ])("%s is made once, and other content under it is a conflict", async (_name, more, headers) => {
    const first = await post({ command: "true", ...more }, "", headers);
    const again = await post({ command: "true", ...more }, "", headers);
    const other = await post({ command: "false", ...more }, "", headers);

    expect(again).toMatchObject({ status: 202, body: first.body });
    expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  });

  test("takes no id of another session's command, nor of an agent's call", async () => {
    await post({ command: "true", id: "call_taken" });
    const { database } = world.store;
    const { block } = aCall("bash");
    await endStep(database, await aStep(database, await aMessage(database, id)), anEnding([{ block }]));
    id = await world.createSession();

    for (const taken of ["call_taken", block.callId]) {
      expect(await post({ command: "true", id: taken })).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
    }
  });

  test("is run, or stopped, later when no workflow could be told of it, also by another process", async () => {
    const running = await post({ command: "sleep 60" });
    await begin(running.body["id"]);
    world.sessions.fail("unreachable", "runCommand", "stopCommand");
    const made = await post({ command: "true" });
    const stopped = await stop(running.body["id"]);
    world.sessions.commands.length = 0;
    world.sessions.recover();

    expect(made.status).toBe(202);
    expect(stopped).toMatchObject({ status: 202, body: { state: "stopping", outcome: null } });
    const { commands, stopped: told } = world.sessions;
    // What runs is told of, too: its workflow may have been lost.
    await until(
      () => commands.some(({ callId }) => callId === made.body["id"]) && told.length > 0,
      LIMITS.undeliveredAfterMs + 5_000,
    );
    expect(commands).toContainEqual({ sessionId: id, callId: made.body["id"] });
    expect(told).toEqual([running.body["id"]]);
    expect((await begin(running.body["id"])).isStopping).toBe(true);
  }, 15_000);

  test("is refused where the session is closed, and ended where it closes", async () => {
    const made = await post({ command: "sleep 60" });
    await begin(made.body["id"]);
    const planned = await post({ command: "true" });
    await closeSession(world.store.database, id);

    expect(await post({ command: "true" })).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
    for (const one of [made, planned]) {
      expect((await get(one.body["id"])).body).toMatchObject({ state: "done", outcome: "interrupted", exitCode: null });
    }
    expect((await typesOf(world.store.database, id)).slice(-3)).toEqual([
      "command.completed",
      "command.completed",
      "session.closed",
    ]);
  });

  test("too many is one that has to wait", async () => {
    for (let i = 0; i < LIMITS.commandsOpenMax; i++) await post({ command: "true", id: `call_${id}_${i}` });

    expect(await post({ command: "true" })).toMatchObject({
      status: 429,
      body: { code: "TOO_MANY_COMMANDS", retryable: true },
    });
    await end(`call_${id}_0`);
    expect((await post({ command: "true" })).status).toBe(202);
  });

  test.each<[string, object, string]>([
    ["nothing", {}, "/command"],
    ["an empty line", { command: "" }, "/command"],
    ["a NUL", { command: "a\0b" }, "/command"],
    ["a list", { command: ["ls"] }, "/command"],
    ["a long line", { command: "x".repeat(LIMITS.commandCharactersMax + 1) }, "/command"],
    ["a folder outside", { command: "ls", cwd: "a/../../b" }, "/cwd"],
    ["a folder with a NUL", { command: "ls", cwd: "a\0" }, "/cwd"],
    ["what looks like a secret", { command: "ls", env: { API_KEY: "x" } }, "/env/API_KEY"],
    ["a variable with a space", { command: "ls", env: { "A B": "x" } }, "/env/A B"],
    ["no time", { command: "ls", timeoutMs: 0 }, "/timeoutMs"],
    ["too much time", { command: "ls", timeoutMs: LIMITS.commandTimeoutMs.max + 1 }, "/timeoutMs"],
    ["half a millisecond", { command: "ls", timeoutMs: 0.5 }, "/timeoutMs"],
    ["much input", { command: "cat", input: "\u00e9".repeat(LIMITS.commandInputBytesMax / 2 + 1) }, "/input"],
    ["an id of another kind", { command: "ls", id: "turn_x" }, "/id"],
    ["an id that is a path", { command: "ls", id: "call_../x" }, "/id"],
    ["another field", { command: "ls", shell: "zsh" }, "/shell"],
  ])("with %s is refused", async (_name, body, where) => {
    const refused = await post(body);

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path: where }] } });
    expect(delivered()).toEqual([]);
  });

  test.each(["?wait=x", "?wait=3h", "?wait=121s", "?limit=1"])("with %s is refused", async (query) => {
    expect(await post({ command: "ls" }, query)).toMatchObject({ status: 400 });
  });
});

describe("a listing", () => {
  test("is newest first, page by page, and by state", async () => {
    for (const name of ["a", "b", "c"]) await post({ command: name, id: `call_${id}-${name}` });
    await end(`call_${id}-b`);
    const list = async (query: string) => (await world.call(`GET /v1/sessions/${id}/commands${query}`)).body;
    const names = (body: Record<string, unknown>) =>
      (body["commands"] as { command: string }[]).map((one) => one.command);

    const first = await list("?limit=2");
    const second = await list(`?limit=2&cursor=${String(first["next"])}`);

    expect(names(first)).toEqual(["c", "b"]);
    expect(names(second)).toEqual(["a"]);
    expect(second["next"]).toBeNull();
    expect(names(await list("?state=done"))).toEqual(["b"]);
  });

  test.each(["?state=over", "?limit=0", "?limit=201", "?cursor=x"])("with %s is refused", async (query) => {
    expect(await world.call(`GET /v1/sessions/${id}/commands${query}`)).toMatchObject({ status: 400 });
  });

  test.each(["GET", "DELETE"])("knows no command of another session: %s", async (method) => {
    await post({ command: "true", id: `call_${id}` });
    const other = await world.createSession();

    const found = await world.call(`${method} /v1/sessions/${other}/commands/call_${id}`);

    expect(found).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
  });
});

describe("a command that is stopped", () => {
  test("before any worker had it never runs", async () => {
    const made = await post({ command: "true" });

    const stopped = await stop(made.body["id"]);

    expect(stopped).toMatchObject({ status: 200, body: { state: "done", outcome: "interrupted", startedAt: null } });
    await expect(begin(made.body["id"])).rejects.toThrow("it has ended");
    expect(world.sessions.stopped).not.toContain(made.body["id"]);
  });

  test("and whose workflow is gone is given another one, which ends it", async () => {
    const made = await post({ command: "sleep 60" });
    await begin(made.body["id"]);
    world.sessions.fail("missing", "stopCommand");
    world.sessions.commands.length = 0;

    await stop(made.body["id"]);

    expect(delivered()).toEqual([{ sessionId: id, callId: made.body["id"] }]);
  });

  test("after its end stays as it ended", async () => {
    const made = await post({ command: "true" });
    await end(made.body["id"]);

    expect(await stop(made.body["id"])).toMatchObject({ status: 200, body: { outcome: "ok" } });
    expect(world.sessions.stopped).not.toContain(made.body["id"]);
  });
});
