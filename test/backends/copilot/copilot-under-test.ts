/** The copilot backend as the conformance suite takes it: as it is registered, and with no session ever kept open. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { SteppedBackend } from "../../../backends/backend.ts";
import { createCopilotBackend } from "../../../backends/copilot/backend.ts";
import { readConfig } from "../../../contract/config.ts";
import type { BackendRecipe } from "../backend-process.ts";
import type { BackendUnderTest, Wire } from "../backend-under-test.ts";
import { startRegistered } from "../registered-backend.ts";

const NAMES = { responses: "responses", chat_completions: "completions", anthropic: "anthropic" } as const;

export const COPILOT_WIRES = ["responses", "chat_completions", "anthropic"] as const satisfies readonly Wire[];
export type CopilotWire = (typeof COPILOT_WIRES)[number];

export function startCopilot(wire: CopilotWire): Promise<BackendUnderTest> {
  return startRegistered({
    name: "copilot",
    wire,
    environment: (url, key) => ({
      COPILOT_PROVIDER_BASE_URL: url,
      COPILOT_PROVIDER_API_KEY: key,
      COPILOT_PROVIDER_WIRE_API: NAMES[wire],
    }),
    keyless: () => ({}),
    keyVariables: ["COPILOT_GITHUB_TOKEN", "COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY"],
  });
}

/** Each of its steps resumes the state that was committed. */
export async function startResuming(wire: CopilotWire): Promise<BackendUnderTest> {
  const made = await startCopilot(wire);
  const resuming = (recipe: BackendRecipe): BackendRecipe => {
    return { ...recipe, module: import.meta.url, make: makeResuming.name };
  };
  const { recipe, wrongKey, noKey, nowhere } = made;
  return {
    ...made,
    recipe: resuming(recipe),
    wrongKey: resuming(wrongKey),
    noKey: resuming(noKey),
    nowhere: resuming(nowhere),
  };
}

/** By the recipe, in this process or another. */
export async function makeResuming(options: {
  readonly environment: Readonly<Record<string, string>>;
}): Promise<SteppedBackend> {
  const { copilotGithubToken, copilotProvider, model } = readConfig(options.environment);
  const scratchDir = await mkdtemp(path.join(tmpdir(), "perdure-backend-"));
  const backend = createCopilotBackend({
    githubToken: copilotGithubToken,
    provider: copilotProvider,
    defaultModel: model,
    scratchDir,
    warn: () => undefined,
    liveSessionsMax: 0,
  });
  const dispose = backend[Symbol.asyncDispose]?.bind(backend);
  backend[Symbol.asyncDispose] = async () => {
    await dispose?.();
    await rm(scratchDir, { recursive: true, force: true });
  };
  return backend;
}
