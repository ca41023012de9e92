/** Each line of the registry is true of its backend, and reading the registry costs nothing. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { BackendEntry } from "../../backends/backend.ts";
import { BACKENDS, findBackend } from "../../backends/registry.ts";
import { ModelSettings } from "../../contract/agents.ts";
import { BackendCapabilities } from "../../contract/backends.ts";
import { readConfig } from "../../contract/config.ts";
import { startModelEndpoint } from "../support/model-endpoint.ts";
import { CheckedSink, KEY, PlayedSession, scripted } from "./played-session.ts";

type Setting = keyof ModelSettings;

/** A value of each setting that is no default, and can be found again in a request. */
const VALUES: Readonly<Record<Setting, string | number>> = {
  api: "chat_completions",
  temperature: 0.25,
  topP: 0.75,
  maxOutputTokens: 1_234,
  reasoningEffort: "low",
};

test("the names are unique, and an unknown one is not found", () => {
  const names = BACKENDS.map(({ name }) => name);

  expect(new Set(names).size).toBe(names.length);
  expect(names.map((name) => findBackend(name)?.name)).toEqual(names);
  for (const name of ["none", "", "constructor", "__proto__"]) expect(findBackend(name)).toBeUndefined();
});

test("every setting of the contract has a value here", () => {
  expect(Object.keys(VALUES).sort()).toEqual(Object.keys(ModelSettings.shape).sort());
});

test("reading the registry loads no package but zod, and so does asking for a default model", async () => {
  const code = `
    import { registerHooks } from "node:module";
    registerHooks({ load: (url, context, next) => (process.stdout.write(url + "\\n"), next(url, context)) });
    const { BACKENDS } = await import(process.argv[1]);
    for (const { defaultModel } of BACKENDS) defaultModel({ model: "m" });
  `;
  const registry = new URL("../../backends/registry.ts", import.meta.url).href;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code, registry]);

  const packages = stdout.matchAll(/node_modules\/((?:@[^/]+\/)?[^/]+)/g);
  expect(stdout).toContain("backends/registry.ts");
  expect([...new Set([...packages].map(([, name]) => name))].filter((name) => name !== "zod")).toEqual([]);
});

describe.each(BACKENDS.map((entry) => [entry.name, entry] as const))("%s", (_, entry) => {
  test("says what it can in the contract's words", () => {
    expect(BackendCapabilities.parse(entry.capabilities)).toEqual(entry.capabilities);
    expect(entry.capabilities.wires.length).toBeGreaterThan(0);
    expect(entry.title).not.toBe("");
  });

  test("is made without any credentials, under its registered name", async () => {
    await using made = await make(entry, {});

    expect(made.backend.name).toBe(entry.name);
    expect(await made.backend.validate()).toMatchObject({ valid: false, errors: [{ code: "AUTH_REQUIRED" }] });
  });

  test.each(Object.keys(VALUES) as Setting[])("says truly whether it takes the setting %s", async (setting) => {
    await using model = await startModelEndpoint();
    await using made = await make(entry, environment(model.url));
    const value = VALUES[setting];
    const ask = async (modelSettings: ModelSettings): Promise<string> => {
      const played = new PlayedSession({ modelSettings, model: "gpt-5" });
      played.say(scripted({ text: "ok" }));
      await made.backend.step(played.input, new CheckedSink(), new AbortController().signal);
      const { path: at, body } = model.requests.at(-1) ?? {};
      return `${at} ${JSON.stringify(body).replaceAll(played.id, "")}`;
    };

    const [without, withIt] = [await ask({}), await ask({ [setting]: value })];

    const takes = entry.capabilities.settings.includes(setting);
    expect(plain(withIt) === plain(without)).toBe(!takes);
    if (takes && setting !== "api") expect(withIt).toContain(`:${JSON.stringify(value)}`);
  });
});

/** A request without what differs each time: ids and clocks. */
function plain(request: string): string {
  return request
    .replace(/<current_datetime>[^<]*/g, "")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "");
}

/** All variables that point any of the backends at an endpoint. */
function environment(url: string): Readonly<Record<string, string>> {
  return {
    OPENAI_BASE_URL: url,
    OPENAI_API_KEY: KEY,
    COPILOT_PROVIDER_BASE_URL: url,
    COPILOT_PROVIDER_API_KEY: KEY,
    COPILOT_PROVIDER_WIRE_API: "responses",
  };
}

async function make(
  entry: BackendEntry,
  env: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { readonly backend: Awaited<ReturnType<BackendEntry["create"]>> }> {
  const scratchDir = await mkdtemp(path.join(tmpdir(), "perdure-registry-"));
  const backend = await entry.create({ config: readConfig(env), scratchDir, warn: () => undefined });
  return {
    backend,
    [Symbol.asyncDispose]: async () => {
      await backend[Symbol.asyncDispose]?.();
      await rm(scratchDir, { recursive: true, force: true });
    },
  };
}
