/** How a session of the runtime is set up for a step: our tools and our words, and nothing else that the runtime could do. */
import type { SessionConfig } from "@github/copilot-sdk";
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { StepInput } from "../backend.ts";
import { runtimeProvider } from "./connection.ts";

/** Data alone: the same JSON is the same set-up. */
export type StepConfig = Omit<SessionConfig, "sessionId" | "createSessionFsProvider" | "onEvent">;

export function stepConfig(
  input: StepInput,
  made: { model: string; provider: CopilotProvider | undefined },
): StepConfig {
  const { model, provider } = made;
  const { reasoningEffort } = input.agent.modelSettings;
  return {
    model,
    streaming: true,
    // Without a handler a call is only announced, and its result waited for.
    tools: input.tools.map(({ name, description, parameters }) => ({
      ...{ name, description, parameters, skipPermission: true },
      ...{ overridesBuiltInTool: true, defer: "never" as const },
    })),
    availableTools: ["custom:*"],
    systemMessage: { mode: "replace", content: instructionsOf(input) },
    ...(provider === undefined ? {} : { provider: ownProvider(provider) }),
    ...(isEffort(reasoningEffort) ? { reasoningEffort } : {}),
    // All that the runtime would do beyond the one model call.
    largeOutput: { enabled: false },
    toolSearch: { enabled: false },
    infiniteSessions: { enabled: false },
    enableSkills: false,
    enableSessionStore: false,
  };
}

/** Those that the runtime knows; the others are put into the request alone. */
function isEffort(effort: string | undefined): effort is "low" | "medium" | "high" | "xhigh" {
  return effort === "low" || effort === "medium" || effort === "high" || effort === "xhigh";
}

function ownProvider(provider: CopilotProvider): ReturnType<typeof runtimeProvider> & { maxPromptTokens: number } {
  return { ...runtimeProvider(provider), maxPromptTokens: LIMITS.copilotPromptTokensMax };
}

/** The schema is in the request too, on the wires that have a field for it. Here it is for the one that has none. */
function instructionsOf({ agent }: StepInput): string {
  const { instructions = "", outputSchema } = agent;
  if (outputSchema === undefined) return instructions;
  const asked = `Your final answer must be JSON that matches this JSON schema, and nothing else:\n${JSON.stringify(outputSchema)}`;
  return instructions === "" ? asked : `${instructions}\n\n${asked}`;
}
