/** What a session is to run as, from what a request says of it: the agent found and pinned, its overrides laid over it, all of it checked. */
import type { z } from "zod";
import { BACKENDS } from "../backends/registry.ts";
import {
  type Agent,
  AgentInput,
  type AgentOverrides,
  type AgentRef,
  type ClientTool,
  toAgent,
  withOverrides,
} from "../contract/agents.ts";
import type { CreateSession, SessionAgentInput, UpdateSession } from "../contract/http.ts";
import type { SessionId } from "../contract/ids.ts";
import { toSandboxSpec } from "../contract/sandbox.ts";
import { getAgent, pinHandoffs } from "../store/agents.ts";
import { type BackendTable, type Configuration, plannedConfiguration } from "../store/configuration.ts";
import type { Database } from "../store/database.ts";
import { sessionRequestHash } from "../store/request-hash.ts";
import { runningWorkers } from "../store/workers.ts";
import { agentFaults, type CheckedAgent, type Pointers } from "./agent-check.ts";
import { clashFaults, clientToolFaults } from "./client-tool-check.ts";
import { type Fault, invalid, pointerPart } from "./input.ts";

type InlineAgent = z.output<typeof AgentInput>;
interface StoredChoice {
  readonly id: string;
  readonly version?: number | undefined;
}

const NO_AGENT: InlineAgent = AgentInput.parse({});

/** What the backends can do of what a conversation may hold, for the store. */
export const BACKEND_TABLE: BackendTable = Object.fromEntries(
  BACKENDS.map(({ name, capabilities }) => [name, capabilities]),
);

export interface ResolvedSession {
  readonly agent: Agent;
  readonly agentRef: AgentRef | undefined;
  readonly clientTools: readonly ClientTool[];
}

/** The session that is asked for. Throws AGENT_NOT_FOUND, or INVALID_INPUT with all that is wrong. */
export async function resolveSession(database: Database, body: CreateSession): Promise<ResolvedSession> {
  const { agent: choice, clientTools } = body;
  const overrides = overridesOf(body);
  const { ref, inline } = chosen(choice);
  const stored = ref && (await getAgent(database.read, ref.id, ref.version));
  const agent = withOverrides(stored?.agent ?? toAgent(inline), overrides);
  const at = stored ? pointersOf(body, { ofAgentToo: true }) : inlinePointers(body, inline);
  await check(database, { agent, at }, await clientToolFaults(agent, clientTools, "/clientTools"));
  return {
    agent: await pinned(database, agent),
    agentRef: stored && { id: stored.id, version: stored.version },
    clientTools,
  };
}

/** The change that is asked for, checked with what the session has. Throws like `resolveSession`, and SESSION_NOT_FOUND. */
export async function resolveChange(
  database: Database,
  sessionId: SessionId,
  body: UpdateSession,
): Promise<Configuration> {
  const planned = await plannedConfiguration(database, sessionId);
  const overrides = overridesOf(body);
  const { ref } = chosen(body.agent);
  const stored = ref && (await getAgent(database.read, ref.id, ref.version));
  const agent = withOverrides(stored?.agent ?? planned.agent, overrides);
  const clientTools = body.clientTools ?? planned.clientTools;
  const isOtherAgent = stored !== undefined || overrides.tools !== undefined;
  const place = overrides.tools === undefined ? "/agent" : "/overrides/tools";
  // Settings that were for another backend fall away with it; only those that this request names are looked at.
  await check(database, { agent, at: pointersOf(body, { ofAgentToo: false }) }, [
    ...(body.clientTools ? await clientToolFaults(agent, clientTools, "/clientTools") : []),
    ...(body.clientTools === undefined && isOtherAgent ? clashFaults(agent, clientTools, place) : []),
  ]);
  return {
    ...(stored && {
      agent: {
        ref: { id: stored.id, version: stored.version },
        profile: await pinned(database, stored.agent),
      },
    }),
    ...(Object.keys(overrides).length > 0 && { overrides }),
    ...(body.clientTools && { clientTools: body.clientTools }),
  };
}

/** The agent with the versions that it hands over to. One that cannot hand over to whom it names is not begun with. */
async function pinned(database: Database, agent: Agent): Promise<Agent> {
  const made = await pinHandoffs(database.read, agent);
  const gone = agent.handoffs.filter((handoff) => !made.handoffs.some((other) => other.agent === handoff.agent));
  if (gone.length === 0) return made;
  const names = gone.map((handoff) => handoff.agent).join(", ");
  const message = `it hands over to ${names}, which is deleted; make that agent again, or PUT this one without it`;
  throw invalid([{ path: "/agent", message }]);
}

/** The hash of what is asked for: a repeat is told by it before anything is looked up. */
export function requestHash(body: CreateSession): string {
  const { clientTools, title, metadata } = body;
  const overrides = overridesOf(body);
  const { ref, inline } = chosen(body.agent);
  if (ref) return sessionRequestHash({ agent: ref, overrides, clientTools, title, metadata });
  return sessionRequestHash({ agent: withOverrides(toAgent(inline), overrides), clientTools, title, metadata });
}

async function check(database: Database, checked: CheckedAgent, others: readonly Fault[]): Promise<void> {
  const faults = await agentFaults(checked, { database, workers: await runningWorkers(database) });
  if (faults.length + others.length > 0) throw invalid([...faults, ...others]);
}

/** A stored agent, or one that is written out: without either, the agent of nothing but defaults. */
function chosen(choice: SessionAgentInput | undefined): { readonly ref?: StoredChoice; readonly inline: InlineAgent } {
  if (choice === undefined) return { inline: NO_AGENT };
  if (typeof choice === "string") return { ref: { id: choice }, inline: NO_AGENT };
  return "id" in choice ? { ref: choice, inline: NO_AGENT } : { inline: choice };
}

/** The overrides with their short forms. */
function overridesOf({ overrides, backend, model, sandbox }: CreateSession | UpdateSession): AgentOverrides {
  return {
    ...overrides,
    ...(backend !== undefined && { backend }),
    ...(model !== undefined && { model }),
    ...(sandbox !== undefined && { sandbox: { ...overrides?.sandbox, ...toSandboxSpec(sandbox) } }),
  };
}

/**
 * Places of what the request says beside its agent. `ofAgentToo`: settings that the agent has and another backend does not
 * take are faults of who names that backend.
 */
function pointersOf(body: CreateSession | UpdateSession, settings: { readonly ofAgentToo: boolean }): Pointers {
  const { overrides = {}, backend, model, sandbox } = body;
  const place = (field: keyof Agent): string | undefined => {
    if (field === "backend" && backend !== undefined) return "/backend";
    if (field === "model" && model !== undefined) return "/model";
    if (field === "sandbox" && sandbox !== undefined) return "/sandbox";
    return Object.hasOwn(overrides, field) ? `/overrides/${field}` : undefined;
  };
  return (field, setting) => {
    if (setting === undefined) return place(field);
    if (Object.hasOwn(overrides.modelSettings ?? {}, setting)) return `/overrides/modelSettings${pointerPart(setting)}`;
    return settings.ofAgentToo ? place("backend") : undefined;
  };
}

/** Places in an agent that is written out, under what the request says beside it. */
function inlinePointers(body: CreateSession, inline: InlineAgent): Pointers {
  const beside = pointersOf(body, { ofAgentToo: false });
  const inside = agentPointers(inline, "/agent");
  return (field, setting) => beside(field, setting) ?? inside(field, setting);
}

/** Places in an agent as a client writes it. */
export function agentPointers(agent: InlineAgent, root: string): Pointers {
  return (field, setting) => {
    if (setting === undefined) return `${root}/${field}`;
    const isOldName = agent.backendOptions !== undefined && Object.hasOwn(agent.backendOptions, setting);
    const isNew = agent.modelSettings !== undefined && Object.hasOwn(agent.modelSettings, setting);
    return `${root}/${isOldName && !isNew ? "backendOptions" : field}${pointerPart(setting)}`;
  };
}
