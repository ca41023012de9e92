/** The tools of one session, whoever runs them: this worker, the session's caller, or (a question) a person. */
import { type ClientTool, HANDOFF_PREFIX } from "../contract/agents.ts";
import { cutText } from "../contract/cut-text.ts";
import type { Question } from "../contract/waits.ts";
import type { SessionSetup } from "../store/session-setup.ts";
import { argumentsBySchema, checkOutput } from "../threads/schemas.ts";
import {
  type DeclaredTool,
  type ElsewhereCheck,
  parseArguments,
  parseArgumentsBy,
  type Toolbox,
} from "../tools/registry.ts";
import type { ArgumentKind, Tool } from "../tools/tool.ts";

type Parsed = { readonly args: unknown } | { readonly error: string };

interface Callable {
  readonly name: string;
  /** JSON schema of its arguments. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly argumentKinds: Readonly<Record<string, ArgumentKind>>;
  readonly changesWorld: boolean;
  readonly needsApproval: boolean;
  /** `key` is whose call it is: checking may be work for a thread. */
  parse(raw: unknown, key: string): Promise<Parsed>;
  /** Of arguments that parse. */
  summary(raw: unknown): string;
}

export type CallableTool = Callable &
  (
    | { readonly kind: "worker"; readonly quick: boolean }
    | { readonly kind: "client"; readonly timeoutMs: number; readonly replay: ClientTool["replay"] }
    | { readonly kind: "question"; readonly question: (raw: unknown) => Question }
  );

/** The tool of that name which the session's agent has, or undefined. */
export function callableTool(toolbox: Toolbox, setup: SessionSetup, name: string): CallableTool | undefined {
  const client = setup.clientTools.find((tool) => tool.name === name);
  if (client) return fromClient(client);
  const tool = setup.agent.tools.includes(name) ? toolbox.find(name) : undefined;
  return tool && fromWorker(toolbox, tool);
}

/** Every name that a call of this session may have. */
export function toolNames(toolbox: Toolbox, setup: SessionSetup): readonly string[] {
  return [
    ...setup.agent.tools.filter((name) => toolbox.find(name)),
    ...setup.clientTools.map(({ name }) => name),
    ...setup.agent.handoffs.map(({ agent }) => HANDOFF_PREFIX + agent),
  ];
}

/** What the model is told that it may call. */
export function sessionDeclarations(toolbox: Toolbox, setup: SessionSetup): readonly DeclaredTool[] {
  const { agent, clientTools } = setup;
  return [
    ...toolbox.declarations(agent.tools),
    ...clientTools.map(({ name, description, parameters }) => ({ name, description, parameters })),
    ...agent.handoffs.map((handoff) => ({
      name: HANDOFF_PREFIX + handoff.agent,
      description: handoff.description ?? `Hands the conversation over to the agent ${handoff.agent}.`,
      parameters: { type: "object", properties: {}, additionalProperties: false },
    })),
  ];
}

/** Tools of the agent that this worker does not have. */
export function missingTools(toolbox: Toolbox, setup: SessionSetup): readonly string[] {
  return setup.agent.tools.filter((name) => !toolbox.find(name));
}

function fromWorker(toolbox: Toolbox, tool: Tool): CallableTool {
  const [declared] = toolbox.declarations([tool.name]);
  const args = (raw: unknown): unknown => {
    const parsed = parseArguments(tool, raw);
    if ("error" in parsed) throw new Error(`arguments of ${tool.name} that parsed before do not parse now`);
    return parsed.args;
  };
  const common = {
    name: tool.name,
    schema: declared?.parameters ?? {},
    argumentKinds: tool.argumentKinds ?? {},
    changesWorld: tool.changesWorld,
    needsApproval: tool.needsApproval ?? false,
    parse: (raw: unknown, key: string) => parseArgumentsBy(elsewhere(key), tool, raw),
    // Who wrote such a schema has no summary of its own.
    summary: (raw: unknown) => (tool.hardSchema ? tool.name : tool.summary(args(raw))),
  };
  if (tool.answeredBy === "person") return { ...common, kind: "question", question: (raw) => args(raw) as Question };
  return { ...common, kind: "worker", quick: tool.quick };
}

/** @param key One session's checks wait for each other. */
export function elsewhere(key: string): ElsewhereCheck {
  return (schema, raw) => argumentsBySchema(schema, raw, key);
}

/** The caller runs it on its own side, and may refuse by itself: a policy that says nothing of it does not ask. */
function fromClient(tool: ClientTool): CallableTool {
  return {
    kind: "client",
    name: tool.name,
    schema: tool.parameters,
    argumentKinds: {},
    changesWorld: false,
    needsApproval: false,
    timeoutMs: tool.timeoutMs,
    replay: tool.replay,
    parse: (raw, key) => parseForClient(tool, raw, key),
    summary: () => tool.name,
  };
}

const NAMES = { value: "the arguments", schema: "the tool's schema" };

/** The client's own schema is a stranger's: checking with it is bounded in time, and keeps nobody else waiting. */
async function parseForClient(tool: ClientTool, raw: unknown, key: string): Promise<Parsed> {
  if (typeof raw === "string") {
    return {
      error: `The arguments of ${tool.name} are not a JSON object: ${cutText(raw, 500)}\nSend one JSON object.`,
    };
  }
  const checked = await checkOutput(tool.parameters, JSON.stringify(raw), { names: NAMES, key });
  if ("errors" in checked) {
    return { error: `The arguments of ${tool.name} are wrong, so it was not called: ${checked.errors}` };
  }
  return { args: raw };
}
