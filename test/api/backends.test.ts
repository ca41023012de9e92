/** GET /v1/backends: every line of the registry, with what running workers found. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { BACKENDS } from "../../backends/registry.ts";
import { BackendList, type BackendValidation, type WorkerAnnouncement } from "../../contract/backends.ts";
import { announceWorker } from "../../store/workers.ts";
import { ApiWorld } from "../support/api-world.ts";

let world: ApiWorld;
beforeEach(async () => {
  world = await ApiWorld.start();
});
afterEach(() => world[Symbol.asyncDispose]());

const valid = (checkedAt: number): BackendValidation => ({ valid: true, errors: [], checkedAt });
const invalid = (checkedAt: number, message = "set OPENAI_API_KEY"): BackendValidation => ({
  valid: false,
  errors: [{ code: "AUTH_REQUIRED", message }],
  checkedAt,
});

async function announce(id: string, ...backends: WorkerAnnouncement["backends"]): Promise<void> {
  await announceWorker(world.store.database, { id, announcement: { tools: [], backends } });
}

async function openai(): Promise<unknown> {
  const { body } = await world.call("GET /v1/backends");
  return BackendList.parse(body).backends.find(({ name }) => name === "openai");
}

test("without a worker every backend is told with its capabilities, and that nobody has tried it", async () => {
  const { status, body } = await world.call("GET /v1/backends");

  const { backends } = BackendList.parse(body);
  expect(status).toBe(200);
  expect(backends.map(({ name }) => name)).toEqual(BACKENDS.map(({ name }) => name));
  expect(backends.map(({ capabilities }) => capabilities)).toEqual(BACKENDS.map(({ capabilities }) => capabilities));
  for (const backend of backends) {
    expect(backend).toMatchObject({ workers: 0, defaultModel: null, models: [], validation: null });
  }
});

test("a backend that cannot be used says why", async () => {
  await announce("w1", { name: "openai", defaultModel: "m", models: [], validation: invalid(5) });

  expect(await openai()).toMatchObject({ workers: 1, defaultModel: "m", validation: invalid(5) });
});

test("of several workers the one that can use it is believed, then the newest", async () => {
  const models = [{ id: "m-1" }];
  await announce("w1", { name: "openai", defaultModel: "untried", models: [], validation: null });
  await announce("w2", { name: "openai", defaultModel: "old", models: [], validation: valid(1) });
  await announce("w3", { name: "openai", defaultModel: "new", models, validation: valid(2) });
  await announce("w4", { name: "openai", defaultModel: "broken", models: [], validation: invalid(3) });

  expect(await openai()).toMatchObject({ workers: 4, defaultModel: "new", models, validation: valid(2) });
});

test("a backend that only an invalid worker has tried is invalid, though another has not tried it yet", async () => {
  await announce("w1", { name: "openai", defaultModel: "a", models: [], validation: null });
  await announce("w2", { name: "openai", defaultModel: "b", models: [], validation: invalid(1, "older") });
  await announce("w3", { name: "openai", defaultModel: "c", models: [], validation: invalid(2, "newer") });

  expect(await openai()).toMatchObject({ workers: 3, validation: invalid(2, "newer") });
});

test("what a worker announces that this API does not know is not told", async () => {
  await announce("w1", { name: "of-tomorrow", defaultModel: null, models: [], validation: valid(1) });

  const { body } = await world.call("GET /v1/backends");
  expect(JSON.stringify(body)).not.toContain("of-tomorrow");
});

test("it takes no other method and no query", async () => {
  expect((await world.call("POST /v1/backends", { json: {} })).status).toBe(405);
  expect((await world.call("GET /v1/backends?name=openai")).status).toBe(400);
});
