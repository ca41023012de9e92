/** What a step has to know of its session: its agent as it is pinned, the caller's tools, the project. */

import type { Kysely } from "kysely";
import { Agent, type ClientTool } from "../contract/agents.ts";
import { SupersededError } from "./error.ts";
import type { Schema } from "./schema.ts";

/** The metadata key that says to which project a session belongs; decisions can be remembered for all of its sessions. */
const PROJECT = "project";

export interface SessionSetup {
  readonly agent: Agent;
  readonly clientTools: readonly ClientTool[];
  readonly project: string | null;
  /** Counts the configurations that were applied; 0 is the first. */
  readonly configuration: number;
}

/** From a transaction, or from outside of one. */
export async function sessionSetup(from: Kysely<Schema>, sessionId: string): Promise<SessionSetup> {
  const row = await from
    .selectFrom("sessions")
    .select(["agent", "client_tools", "metadata", "configuration"])
    .where("id", "=", sessionId)
    .executeTakeFirst();
  if (!row) throw new SupersededError(`session ${sessionId} is gone`);
  return {
    agent: storedAgent(row.agent),
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
