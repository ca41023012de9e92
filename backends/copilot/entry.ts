/** The copilot backend's line of the registry: what it can, and how it is made. Loads no SDK, and starts no runtime. */
import type { BackendEntry } from "../backend.ts";

export const copilot: BackendEntry = {
  name: "copilot",
  title: "GitHub Copilot, or a provider of one's own through Copilot's runtime",
  capabilities: {
    wires: ["responses", "chat_completions", "anthropic"],
    thinking: true,
    images: true,
    files: true,
    parallelTools: true,
    // Two wires are given the schema besides; the third has no field for it that all its models take.
    structuredOutput: "asked",
    steering: true,
    resume: "state",
    settings: ["temperature", "topP", "maxOutputTokens", "reasoningEffort"],
  },
  defaultModel: (config) => config.model,
  create: async ({ config, scratchDir, warn }) => {
    const { createCopilotBackend } = await import("./backend.ts");
    return createCopilotBackend({
      githubToken: config.copilotGithubToken,
      provider: config.copilotProvider,
      defaultModel: config.model,
      scratchDir,
      warn,
    });
  },
};
