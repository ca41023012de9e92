/** One step's request, as the SDK's models take it. */
import type { ModelRequest } from "@openai/agents";
import type { StepInput } from "../backend.ts";
import type { Concession } from "./concessions.ts";
import type { Wire } from "./items.ts";
import { fitsStrictMode } from "./schema.ts";

export interface RequestParts {
  readonly input: StepInput;
  readonly wire: Wire;
  /** Stands for the conversation (see request-body.ts). */
  readonly marker: string;
  readonly leaveOut: ReadonlySet<Concession>;
  readonly signal: AbortSignal;
}

/** The same parts make the same request, byte for byte, so that the provider's prompt cache can be hit. */
export function modelRequest(parts: RequestParts): ModelRequest {
  const { agent, tools } = parts.input;
  const { instructions } = agent;
  return {
    // On the other wire the instructions are the first message, which is part of the conversation's bytes.
    ...(parts.wire === "responses" && instructions !== undefined ? { systemInstructions: instructions } : {}),
    input: [],
    tools: tools.map(({ name, description, parameters }) => ({
      type: "function" as const,
      name,
      description,
      parameters: parameters as never,
      strict: false,
    })),
    toolsExplicitlyProvided: true,
    handoffs: [],
    outputType: outputType(agent.outputSchema),
    modelSettings: { ...settings(parts), providerData: providerData(parts) },
    tracing: false,
    signal: parts.signal,
  };
}

function outputType(schema: Record<string, unknown> | undefined): ModelRequest["outputType"] {
  if (schema === undefined) return "text";
  return { type: "json_schema", name: "output", strict: fitsStrictMode(schema), schema: schema as never };
}

function settings({ input, leaveOut }: RequestParts): ModelRequest["modelSettings"] {
  const { temperature, topP, maxOutputTokens, reasoningEffort } = input.agent.modelSettings;
  const summary = leaveOut.has("reasoning.summary") ? {} : { summary: "auto" as const };
  return {
    ...(leaveOut.has("store") ? {} : { store: false }),
    ...(leaveOut.has("parallel_tool_calls") ? {} : { parallelToolCalls: true }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
    ...(maxOutputTokens === undefined || leaveOut.has("max_tokens") ? {} : { maxTokens: maxOutputTokens }),
    ...(reasoningEffort === undefined ? {} : { reasoning: { effort: reasoningEffort, ...summary } }),
  };
}

/** Goes into the body as it is, over what the SDK would have put there. */
function providerData({ input, wire, marker, leaveOut }: RequestParts): Record<string, unknown> {
  const cacheKey = leaveOut.has("prompt_cache_key") ? {} : { prompt_cache_key: input.sessionId };
  if (wire === "responses") {
    // The provider stores nothing of ours, so the model's reasoning travels with us, encrypted.
    const include = leaveOut.has("include") ? [] : ["reasoning.encrypted_content"];
    return { input: marker, include, ...cacheKey };
  }
  const { maxOutputTokens } = input.agent.modelSettings;
  const newName = leaveOut.has("max_tokens") && maxOutputTokens !== undefined;
  return {
    messages: marker,
    ...cacheKey,
    ...(newName ? { max_completion_tokens: maxOutputTokens } : {}),
    ...(leaveOut.has("stream_options") ? { stream_options: undefined } : {}),
  };
}
