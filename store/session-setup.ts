/** What a step has to know of its session: its agent as it is pinned, the caller's tools, the project. */

import type { Kysely } from "kysely";
import { Agent, type AgentRef, type ClientTool } from "../contract/agents.ts";
import { SupersededError } from "./error.ts";
import type { Schema } from "./schema.ts";

/** The metadata key that says to which project a session belongs; decisions can be remembered for all of its sessions. */
const PROJECT = "project";

export interface SessionSetup {
  readonly agent: Agent;
  readonly agentRef: AgentRef | null;
  readonly clientTools: readonly ClientTool[];
  readonly project: string | null;
  /** Counts the configurations that were applied; 0 is the first. */
  readonly configuration: number;
}

/** From a transaction, or from outside of one. */
export async function sessionSetup(from: Kysely<Schema>, sessionId: string): Promise<SessionSetup> {
  const row = await from
    .selectFrom("sessions")
    .select(["agent", "agent_id", "agent_version", "client_tools", "metadata", "configuration"])
    .where("id", "=", sessionId)
    .executeTakeFirst();
  if (!row) throw new SupersededError(`session ${sessionId} is gone`);
  const hasRef = row.agent_id !== null && row.agent_version !== null;
  return {
    agent: storedAgent(row.agent),
    agentRef: hasRef ? { id: row.agent_id ?? "", version: row.agent_version ?? 0 } : null,
    clientTools: row.client_tools === "[]" ? [] : (JSON.parse(row.client_tools) as ClientTool[]),
    project: projectOf(JSON.parse(row.metadata) as Record<string, string>),
    configuration: row.configuration,
  };
}

export function projectOf(metadata: Readonly<Record<string, string>>): string | null {
  return Object.hasOwn(metadata, PROJECT) ? (metadata[PROJECT] ?? null) : null;
}

/** An agent's row of ours, written from a parsed value. One of 0.1 lacks what came since, and is parsed again. */
export function storedAgent(json: string): Agent {
  const agent = JSON.parse(json) as Agent;
  return Object.hasOwn(agent, "approver") ? agent : Agent.parse(agent);
}
