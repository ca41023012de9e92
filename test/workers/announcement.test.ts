/** What a worker announces: its tools and backends at once, what its backends turn out to be later, nothing after its end. */
import { expect, test } from "vitest";
import type { BackendEntry, SteppedBackend } from "../../backends/backend.ts";
import { BackendError } from "../../backends/backend.ts";
import { readConfig } from "../../contract/config.ts";
import { announcedWorkers, announceWorker, runningWorkers } from "../../store/workers.ts";
import { createToolbox } from "../../tools/registry.ts";
import {
  type AnnouncedBackend,
  type AnnouncementDeps,
  Announcing,
  announcedTools,
} from "../../workers/announcement.ts";
import { temporaryStore } from "../store/store-builder.ts";
import { until } from "../support/api-world.ts";

const TIMES = { announceEveryMs: 5, validateAfterMs: 5, validateEveryMs: 20, validateTimeoutMs: 100 };
const NEVER = { ...TIMES, validateAfterMs: 60_000 };

function aBackend(name: string, behaviour: Partial<SteppedBackend> = {}): AnnouncedBackend {
  const entry = { name, defaultModel: () => `${name}-model` } as unknown as BackendEntry;
  const backend: SteppedBackend = {
    name,
    step: () => Promise.reject(new Error("a step was asked for")),
    validate: async () => ({ valid: true, errors: [] }),
    listModels: async () => [{ id: `${name}-1` }],
    ...behaviour,
  };
  return { entry, backend };
}

interface Setting extends AsyncDisposable {
  readonly deps: AnnouncementDeps;
  readonly warnings: string[];
  backend(name: string): Promise<unknown>;
}

async function setting(...backends: AnnouncedBackend[]): Promise<Setting> {
  const store = await temporaryStore();
  const warnings: string[] = [];
  const { database } = store;
  return {
    warnings,
    deps: {
      database,
      id: "here/1",
      config: readConfig({}),
      tools: [{ name: "t", description: "A tool.", source: "built-in", changesWorld: false }],
      backends,
      sandboxes: () => [],
      host: "here",
      isGone: (id) => id.startsWith("dead/"),
      warn: (_fields, message) => warnings.push(message),
    },
    async backend(name) {
      const workers = await runningWorkers(database);
      return workers.flatMap((worker) => worker.backends).find((one) => one.name === name);
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

test("tools and backends are announced before anything is tried, and withdrawn at the end", async () => {
  await using here = await setting(aBackend("a"));
  const announcing = new Announcing(here.deps, NEVER);

  await until(async () => (await here.backend("a")) !== undefined);
  expect(await runningWorkers(here.deps.database)).toEqual([
    {
      host: "here",
      sandboxes: [],
      tools: here.deps.tools,
      backends: [{ name: "a", defaultModel: "a-model", models: [], validation: null }],
    },
  ]);
  await announcing[Symbol.asyncDispose]();

  expect(await announcedWorkers(here.deps.database)).toEqual([]);
});

test("what trying the backends gave is announced, each with its models or its reason", async () => {
  const errors = [{ code: "AUTH_REQUIRED" as const, message: "set a key" }];
  const listModels = () => Promise.reject(new BackendError("NETWORK", "no list"));
  await using here = await setting(
    aBackend("good"),
    aBackend("bad", { validate: async () => ({ valid: false, errors }) }),
    aBackend("mute", { listModels }),
  );
  await using _announcing = new Announcing(here.deps, TIMES);

  const at = expect.any(Number);
  await until(async () => ((await here.backend("mute")) as { validation: unknown } | undefined)?.validation != null);
  await expect(here.backend("good")).resolves.toMatchObject({
    models: [{ id: "good-1" }],
    validation: { valid: true, errors: [], checkedAt: at },
  });
  await expect(here.backend("bad")).resolves.toMatchObject({ models: [], validation: { valid: false, errors } });
  await expect(here.backend("mute")).resolves.toMatchObject({ models: [], validation: { valid: true } });
});

test("a backend that hangs or throws is told as one that cannot be used, and hides no other", async () => {
  await using here = await setting(
    aBackend("hangs", { validate: () => new Promise(() => undefined) }),
    aBackend("throws", { validate: () => Promise.reject(new Error("a fault")) }),
    aBackend("good"),
  );
  await using _announcing = new Announcing(here.deps, TIMES);

  await until(async () => ((await here.backend("good")) as { validation: unknown } | undefined)?.validation != null);
  await until(async () => ((await here.backend("hangs")) as { validation: unknown }).validation !== null);
  await expect(here.backend("hangs")).resolves.toMatchObject({
    validation: { valid: false, errors: [{ message: "it did not answer within 100 ms" }] },
  });
  await expect(here.backend("throws")).resolves.toMatchObject({
    validation: { valid: false, errors: [{ message: "a fault" }] },
  });
});

test("backends are tried again, so that a key that ran out is seen", async () => {
  let tries = 0;
  const validate = async () => ({ valid: ++tries < 3, errors: [] });
  await using here = await setting(aBackend("a", { validate }));
  await using _announcing = new Announcing(here.deps, TIMES);

  await until(async () => {
    const found = (await here.backend("a")) as { validation: { valid: boolean } | null } | undefined;
    return found?.validation?.valid === false;
  });
});

test("a row that was lost, or taken for dead, comes back with the next renewal", async () => {
  await using here = await setting(aBackend("a"));
  await using _announcing = new Announcing(here.deps, NEVER);
  await until(async () => (await here.backend("a")) !== undefined);

  await here.deps.database.write((tx) => tx.deleteFrom("workers").execute());

  await until(async () => (await here.backend("a")) !== undefined);
});

test("rows of killed workers of this host go at once, those of others stay", async () => {
  await using here = await setting();
  const announcement = { tools: [], backends: [] };
  for (const id of ["dead/1", "other/1"]) await announceWorker(here.deps.database, { id, announcement });

  await using _announcing = new Announcing(here.deps, NEVER);

  await until(async () => (await announcedWorkers(here.deps.database)).includes("here/1"));
  expect([...(await announcedWorkers(here.deps.database))].sort()).toEqual(["here/1", "other/1"]);
});

test("a store that cannot be written is warned of, and ends nothing", async () => {
  await using here = await setting(aBackend("a"));
  const write = () => Promise.reject(new Error("the disk is full"));
  const database = { ...here.deps.database, write };

  const announcing = new Announcing({ ...here.deps, database }, TIMES);
  await until(() => here.warnings.includes("this worker was not announced"));
  await announcing[Symbol.asyncDispose]();

  expect(here.warnings).toContain("this worker was not withdrawn");
});

test("a tool is announced with the plugin it comes from", () => {
  const { tools } = createToolbox();

  const announced = announcedTools(tools, new Map([["bash", "mine"]]));

  expect(announced.find(({ name }) => name === "bash")).toMatchObject({ source: "mine", changesWorld: true });
  expect(announced.find(({ name }) => name === "grep")).toMatchObject({ source: "built-in", changesWorld: false });
});
