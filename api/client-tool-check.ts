/** What of a session's client tools their schema cannot see: names that are taken, parameters that no schema compiler takes. */
import type { Agent, ClientTool } from "../contract/agents.ts";
import { faultsOfSchemas } from "../threads/schemas.ts";
import { reserved } from "./agent-check.ts";
import type { Fault } from "./input.ts";

/** @param place Of the list in the request. */
export async function clientToolFaults(
  agent: Agent,
  tools: readonly ClientTool[],
  place: string,
): Promise<readonly Fault[]> {
  const names = tools.map(({ name }) => name);
  const schemas = await faultsOfSchemas(tools.map(({ parameters }) => parameters));
  return tools.flatMap(({ name }, i): Fault[] => {
    const fault = reserved(name) ?? (names.indexOf(name) < i ? "this tool is there twice" : clash(agent, name));
    const schema = schemas[i];
    return [
      ...(fault === undefined ? [] : [{ path: `${place}/${i}/name`, message: fault }]),
      ...(schema === undefined ? [] : [{ path: `${place}/${i}/parameters`, message: schema }]),
    ];
  });
}

function clash(agent: Agent, name: string): string | undefined {
  return agent.tools.includes(name)
    ? `the agent has a tool ${name} already; a call of it must mean one of them`
    : undefined;
}

/** The agent's own tools that have the name of a client tool, where the request changes the agent and not the client's tools. */
export function clashFaults(agent: Agent, tools: readonly ClientTool[], place: string): readonly Fault[] {
  const names = new Set(tools.map(({ name }) => name));
  return agent.tools
    .filter((tool) => names.has(tool))
    .map((tool) => ({
      path: place,
      message: `the session has a client tool ${tool} already; a call of it must mean one of them`,
    }));
}
