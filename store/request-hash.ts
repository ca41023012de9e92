/**
 * The hash by which a repeated request for a session is told from another one. It is of what was asked for and not of what
 * came of it, so that a session is found again though its agent has a newer version by now.
 */
import { Agent, type AgentOverrides, BuiltInTool, type ClientTool } from "../contract/agents.ts";
import type { AgentId } from "../contract/ids.ts";
import type { Metadata } from "../contract/session.ts";
import { contentHash } from "./content-hash.ts";

export interface SessionRequest {
  /** An agent written out, with the short forms `backend` and `model` in it; or a stored one, with a version when one was named. */
  readonly agent: Agent | { readonly id: AgentId; readonly version?: number | undefined };
  readonly overrides?: AgentOverrides | undefined;
  readonly clientTools?: readonly ClientTool[] | undefined;
  readonly title: string | undefined;
  readonly metadata: Metadata;
}

export function sessionRequestHash(request: SessionRequest): string {
  const { agent, title, metadata } = request;
  const overrides = request.overrides ?? {};
  const clientTools = request.clientTools ?? [];
  if ("id" in agent) return contentHash({ agent, overrides, clientTools, title, metadata });
  const isPlain = contentHash(overrides) === contentHash({}) && clientTools.length === 0;
  const first = isPlain ? ofFirstVersion(agent) : undefined;
  if (first) return contentHash({ agent: first, title, metadata });
  return contentHash({ agent: sparse(agent), overrides, clientTools, title, metadata });
}

const DEFAULTS: Agent = Agent.parse({});

/** The limits that 0.1 had. */
const FIRST_LIMITS = [
  "stepsPerTurn",
  "turnTimeoutMs",
  "tokensPerTurn",
  "toolsInParallel",
  "modelAttempts",
  "modelIdleTimeoutMs",
] as const;
/** Fields of an agent that 0.1 had under the same name. */
const FIRST_FIELDS = ["name", "instructions", "backend", "model", "outputSchema", "artifacts"] as const;
/** Without topP. */
const FIRST_SETTINGS = ["api", "temperature", "maxOutputTokens", "reasoningEffort"] as const;
const FIRST_TOOLS = BuiltInTool.options.filter((tool) => tool !== "ask_user");

/** The agent as 0.1 hashed it, when it says nothing that 0.1 had not: a session that was made by 0.1 is found again. */
function ofFirstVersion(agent: Agent): object | undefined {
  const given = sparse(agent);
  const known: readonly string[] = [...FIRST_FIELDS, "modelSettings", "tools", "limits"];
  if (!Object.keys(given).every((field) => known.includes(field))) return undefined;
  if (!keysAre(given.modelSettings ?? {}, FIRST_SETTINGS) || !keysAre(given.limits ?? {}, FIRST_LIMITS))
    return undefined;
  return {
    ...picked(agent, FIRST_FIELDS),
    backendOptions: agent.modelSettings,
    // All built-in tools is what is meant when nothing is said, and 0.1 had one less.
    tools: given.tools ?? FIRST_TOOLS,
    limits: picked(agent.limits, FIRST_LIMITS),
  };
}

/** What of the agent is not as it would be by itself: fields that are added later must not change the hash of a request that lacks them. */
function sparse(agent: Agent): Partial<Omit<Agent, "limits">> & { readonly limits?: object } {
  const { limits, ...rest } = agent;
  const own = different(limits, DEFAULTS.limits);
  return { ...different(rest, DEFAULTS), ...(Object.keys(own).length > 0 && { limits: own }) };
}

function different<T extends object>(value: T, from: Partial<Record<keyof T, unknown>>): Partial<T> {
  const entries = Object.entries(value).filter(
    ([key, item]) => item !== undefined && contentHash([item]) !== contentHash([from[key as keyof T]]),
  );
  return Object.fromEntries(entries) as Partial<T>;
}

function picked<T extends object, K extends keyof T>(value: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, value[key]])) as Pick<T, K>;
}

function keysAre(value: object, known: readonly string[]): boolean {
  return Object.keys(value).every((key) => known.includes(key));
}
