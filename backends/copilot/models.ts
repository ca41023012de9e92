/** The models that a person may name: as their provider lists them, or as GitHub does. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ModelInfo } from "../../contract/backends.ts";
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";
import { providerError } from "../openai/errors.ts";
import { authorize, errorContext, modelsUrl } from "./connection.ts";
import type { Runtime } from "./runtime.ts";

export async function listProviderModels(provider: CopilotProvider, model: string): Promise<readonly ModelInfo[]> {
  const headers = new Headers(provider.wireApi === "anthropic" ? { "anthropic-version": "2023-06-01" } : {});
  authorize(headers, provider);
  const signal = AbortSignal.timeout(LIMITS.modelListTimeoutMs);
  const response = await fetch(modelsUrl(provider), { headers, signal });
  const text = await response.text();
  if (!response.ok) {
    const context = errorContext({ provider, githubToken: undefined }, model);
    throw providerError({ status: response.status, headers: response.headers, message: text }, context);
  }
  return idsOf(JSON.parse(text));
}

export async function listGithubModels(runtime: Runtime): Promise<readonly ModelInfo[]> {
  const over = new AbortController();
  const late = sleep(LIMITS.modelListTimeoutMs, undefined, { signal: over.signal }).then(() => {
    throw new BackendError("TIMEOUT", `GitHub Copilot did not list its models within ${LIMITS.modelListTimeoutMs} ms`);
  });
  late.catch(() => undefined);
  try {
    return idsOf({ data: await Promise.race([runtime.listModels(), late]) });
  } finally {
    over.abort();
  }
}

function idsOf(listed: unknown): readonly ModelInfo[] {
  const { data } = listed as { data?: unknown };
  const models = Array.isArray(data) ? (data as readonly { id?: unknown }[]) : [];
  return models.slice(0, LIMITS.modelsListedMax).flatMap(({ id }) => (typeof id === "string" ? [{ id }] : []));
}
