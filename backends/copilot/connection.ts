/** How the provider is reached: which account is used, which wire is spoken, how a key is shown to it. */
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";
import type { ErrorContext } from "../openai/errors.ts";

/** The wires that the runtime speaks, named as the other backends name them. */
export type Wire = "responses" | "chat_completions" | "anthropic";

export interface Credentials {
  readonly githubToken: string | undefined;
  readonly provider: CopilotProvider | undefined;
}

const GITHUB = "GitHub Copilot";

/** Fails in the words that a person needs to set it up. */
export function requireCredentials({ githubToken, provider }: Credentials): void {
  if (provider !== undefined || (githubToken ?? "") !== "") return;
  throw new BackendError(
    "AUTH_REQUIRED",
    "there are no credentials for the copilot backend; set COPILOT_GITHUB_TOKEN, or for a provider of your own COPILOT_PROVIDER_BASE_URL with COPILOT_PROVIDER_API_KEY and COPILOT_PROVIDER_WIRE_API, in the worker's environment and start it again",
  );
}

export function errorContext({ githubToken, provider }: Credentials, model: string): ErrorContext {
  if (provider === undefined) {
    return { model, origin: GITHUB, apiKey: githubToken, keyVariable: "COPILOT_GITHUB_TOKEN" };
  }
  const { origin } = new URL(provider.baseUrl);
  return { model, origin, apiKey: provider.apiKey, keyVariable: "COPILOT_PROVIDER_API_KEY" };
}

/** The wire of a request by its path; undefined when it is no model call. */
export function wireOf(url: URL): Wire | undefined {
  if (url.pathname.endsWith("/chat/completions")) return "chat_completions";
  if (url.pathname.endsWith("/responses")) return "responses";
  return url.pathname.endsWith("/messages") ? "anthropic" : undefined;
}

/** The provider as the runtime is told of it: with a key that is none. */
export interface RuntimeProvider {
  readonly type: "openai" | "anthropic";
  readonly wireApi?: "completions" | "responses";
  readonly baseUrl: string;
  readonly apiKey: string;
}

export function runtimeProvider({ baseUrl, wireApi }: CopilotProvider): RuntimeProvider {
  const apiKey = "added-outside-of-the-runtime";
  // The vendor's own address is written without its version, which the runtime adds.
  if (wireApi === "anthropic") return { type: "anthropic", baseUrl: rootOf(baseUrl), apiKey };
  return { type: "openai", wireApi, baseUrl, apiKey };
}

/** Puts the provider's key in the place of the runtime's. */
export function authorize(headers: Headers, { apiKey, wireApi }: CopilotProvider): void {
  headers.delete("authorization");
  headers.delete("x-api-key");
  if (apiKey === undefined || apiKey === "") return;
  if (wireApi === "anthropic") headers.set("x-api-key", apiKey);
  else headers.set("authorization", `Bearer ${apiKey}`);
}

/** Where the provider lists its models. */
export function modelsUrl({ baseUrl, wireApi }: CopilotProvider): URL {
  // Unasked, the vendor lists but 20 of them.
  const listed = `${rootOf(baseUrl)}/v1/models?limit=${LIMITS.modelsListedMax}`;
  return new URL(wireApi === "anthropic" ? listed : `${baseUrl.replace(/\/+$/, "")}/models`);
}

function rootOf(baseUrl: string): string {
  return baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "");
}
