/** Where commands run by default, and what callers may ask for: isolation is never taken away in silence. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError, readConfig } from "../../contract/config.ts";
import { SandboxProviderName } from "../../contract/sandbox.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import { createSandboxProviders, type ProviderEntry } from "../../sandbox/registry.ts";
import { keepSandboxDefault, keptSandboxDefault } from "../../store/sandbox-default.ts";
import { openStore, type Store } from "../../store/store.ts";
import { allowedProviders, type ChoiceOptions, chooseDefault } from "../../workers/sandbox-choice.ts";

const usable = createLocalProvider({ root: path.join(tmpdir(), "perdure-never-made") });

function entries(works: boolean): readonly ProviderEntry[] {
  return SandboxProviderName.options.map((name) =>
    name === "bubblewrap" && !works
      ? { name, provider: undefined, reason: "it is broken" }
      : { name, provider: usable, reason: null },
  );
}

function choose(of: Partial<ChoiceOptions> & { readonly works: boolean; readonly env?: Record<string, string> }) {
  const { works, env = {}, kept, isUncertain = false } = of;
  return chooseDefault({
    entries: entries(works),
    config: readConfig(env),
    kept,
    isUncertain,
    warn: () => undefined,
  });
}

describe("the default", () => {
  test("is bubblewrap where it works, whatever was before", () => {
    for (const kept of [undefined, "local", "bubblewrap", "docker"] as const) {
      expect(choose({ works: true, kept })).toEqual({ defaultName: "bubblewrap", notice: undefined });
    }
  });

  test("is local on a machine without it, and the ready line says so", () => {
    for (const kept of [undefined, "local"] as const) {
      expect(choose({ works: false, kept })).toEqual({
        defaultName: "local",
        notice: "local (no isolation: it is broken)",
      });
    }
  });

  test.each(["bubblewrap", "docker", "modal"] as const)("is never local in silence where it was %s", (kept) => {
    expect(() => choose({ works: false, kept })).toThrow(ConfigError);
    expect(() => choose({ works: false, kept })).toThrow(/it is broken.*PERDURE_SANDBOX=local/s);
  });

  test("is local there as soon as somebody names it", () => {
    const env = { PERDURE_SANDBOX: "local" };
    expect(choose({ works: false, kept: "bubblewrap", env })).toEqual({
      defaultName: "local",
      notice: "local (no isolation)",
    });
  });

  test("is looked for again when bubblewrap could not be tried: that is no fault of the set-up", () => {
    const attempt = (): unknown => choose({ works: false, kept: "bubblewrap", isUncertain: true });
    expect(attempt).toThrow(/right now/);
    expect(attempt).not.toThrow(ConfigError);
  });
});

describe("what is kept of it", () => {
  let folder: string;
  let store: Store;
  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "perdure-default-"));
    store = await openStore(folder);
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  test("is nothing in a new store, and then the last one", async () => {
    expect(await keptSandboxDefault(store.database)).toBeUndefined();
    await keepSandboxDefault(store.database, "bubblewrap");
    await keepSandboxDefault(store.database, "local");
    expect(await keptSandboxDefault(store.database)).toBe("local");
  });
});

describe("what callers may ask for", () => {
  const allowed = (env: Record<string, string>, name: SandboxProviderName): readonly string[] =>
    [...allowedProviders(readConfig(env), name)].sort();

  test("is not local, unless it is the default or named", () => {
    expect(allowed({}, "bubblewrap")).toEqual(["bubblewrap", "docker", "modal"]);
    expect(allowed({}, "local")).toEqual(["bubblewrap", "docker", "local", "modal"]);
    expect(allowed({ PERDURE_SANDBOXES: "local, docker" }, "bubblewrap")).toEqual(["bubblewrap", "docker", "local"]);
    expect(allowed({ PERDURE_SANDBOXES: "docker" }, "docker")).toEqual(["docker"]);
  });

  test.each(["nonsense", "local,", "bubblewrap docker", ","])(
    "PERDURE_SANDBOXES=%j is refused or read whole",
    (text) => {
      const read = () => readConfig({ PERDURE_SANDBOXES: text }).sandbox.allowed;
      if (text === "local,") expect(read()).toEqual(["local"]);
      else expect(read).toThrow(/PERDURE_SANDBOXES: expected names of local, bubblewrap, docker, modal/);
    },
  );

  test("what they may not is announced so and refused with words, but can still be removed", () => {
    const providers = createSandboxProviders(
      entries(true),
      "bubblewrap",
      allowedProviders(readConfig({}), "bubblewrap"),
    );
    expect(providers.announced().find(({ name }) => name === "local")).toMatchObject({
      available: false,
      reason: "PERDURE_SANDBOXES does not name it, and local isolates nothing",
    });
    expect(() => providers.allowed("local")).toThrow(/not allowed here: PERDURE_SANDBOXES.*bubblewrap, docker, modal/);
    expect(providers.provider("local")).toBe(usable);
    expect(providers.allowed("bubblewrap")).toBe(usable);
  });
});
