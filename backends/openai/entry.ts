/** The openai backend's line of the registry: what it can, and how it is made. Loads no SDK. */
import type { BackendEntry } from "../backend.ts";

export const openai: BackendEntry = {
  name: "openai",
  title: "OpenAI, or any provider that speaks its wires",
  capabilities: {
    wires: ["responses", "chat_completions"],
    thinking: true,
    images: true,
    files: true,
    parallelTools: true,
    structuredOutput: "native",
    steering: true,
    resume: "transcript",
    settings: ["api", "temperature", "topP", "maxOutputTokens", "reasoningEffort"],
  },
  defaultModel: (config) => config.model,
  create: async ({ config }) => {
    const { createOpenAiBackend } = await import("./backend.ts");
    return createOpenAiBackend({
      apiKey: config.openaiApiKey,
      baseUrl: config.openaiBaseUrl,
      defaultModel: config.model,
    });
  },
};
