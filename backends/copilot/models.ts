/** The models that a person may name: as their provider lists them, or as GitHub does. */

import { setTimeout as sleep } from "node:timers/promises";
import type { ModelInfo } from "../../contract/backends.ts";
import { jsonFault } from "../../contract/bounded-json.ts";
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";
import { beginningOf, errorIn } from "../openai/answer.ts";
import type { Send } from "../openai/connection.ts";
import type { ErrorContext } from "../openai/errors.ts";
import { authorize, modelsUrl } from "./connection.ts";
import type { Runtime } from "./runtime.ts";

export async function listProviderModels(
  provider: CopilotProvider,
  io: { readonly send: Send; readonly context: ErrorContext },
): Promise<readonly ModelInfo[]> {
  const { send, context } = io;
  const headers = new Headers(provider.wireApi === "anthropic" ? { "anthropic-version": "2023-06-01" } : {});
  authorize(headers, provider);
  const response = await send(
    modelsUrl(provider),
    { headers, signal: AbortSignal.timeout(LIMITS.modelListTimeoutMs) },
    [],
  );
  // Without a model in the request it cannot be the model that is missing.
  if (response.status === 404) throw notAProvider(provider, "it has no list of models (404)");
  if (!response.ok) throw await errorIn(response, context);
  const models = idsOf(parsed(await beginningOf(response, LIMITS.replyCharactersMax)));
  if (models === undefined) throw notAProvider(provider, "its answer is no list of models");
  return models;
}

export async function listGithubModels(runtime: Runtime): Promise<readonly ModelInfo[]> {
  const over = new AbortController();
  const late = sleep(LIMITS.modelListTimeoutMs, undefined, { signal: over.signal }).then(() => {
    throw new BackendError("TIMEOUT", `GitHub Copilot did not list its models within ${LIMITS.modelListTimeoutMs} ms`);
  });
  late.catch(() => undefined);
  try {
    return idsOf({ data: await Promise.race([runtime.listModels(), late]) }) ?? [];
  } finally {
    over.abort();
  }
}

function notAProvider({ baseUrl }: CopilotProvider, why: string): BackendError {
  const { origin, pathname } = new URL(baseUrl);
  const message = `at ${origin}${pathname} there is no model provider: ${why}; check COPILOT_PROVIDER_BASE_URL`;
  return new BackendError("PROVIDER_NOT_FOUND", message);
}

function parsed(text: string): unknown {
  if (jsonFault(text) !== undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Undefined when it is no list. */
function idsOf(listed: unknown): readonly ModelInfo[] | undefined {
  const data = typeof listed === "object" && listed !== null && "data" in listed ? listed.data : undefined;
  if (!Array.isArray(data)) return undefined;
  const models = data as readonly ({ readonly id?: unknown } | null)[];
  return models
    .slice(0, LIMITS.modelsListedMax)
    .flatMap((one) => (typeof one?.id === "string" ? [{ id: one.id }] : []));
}
