/** Agents: stored profiles in immutable versions. */
import { z } from "zod";
import { toAgent } from "../../contract/agents.ts";
import { ProblemError } from "../../contract/errors.ts";
import { AgentList, PostAgent, PutAgent, StoredAgent } from "../../contract/http.ts";
import { AgentId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import {
  type AgentKept,
  createAgent,
  deleteAgent,
  getAgent,
  listAgents,
  listAgentVersions,
  putAgent,
} from "../../store/agents.ts";
import type { Page } from "../../store/page-size.ts";
import { runningWorkers } from "../../store/workers.ts";
import { agentFaults } from "../agent-check.ts";
import { agentIdFor } from "../agent-id.ts";
import type { Dependencies } from "../dependencies.ts";
import { agentIdForKey, IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { invalid, invalidField, parseFrom } from "../input.ts";
import { type Operation, operation, type Reply } from "../operation.ts";
import { integerParameter } from "../parameters.ts";
import { agentPointers } from "../session-configuration.ts";

const JSON_TYPE = "application/json";
const SOURCE = "api";
const VERSION_MAX = 1_000_000_000;

const AgentParams = z.strictObject({ agentId: AgentId });
const PageQuery = {
  limit: integerParameter({ min: 1, max: LIMITS.agentsPerPage.max }, "a page size").optional(),
  cursor: z.string().max(200).optional().meta({ description: "`next` of the page before." }),
};
const KEPT = { contentType: JSON_TYPE, schema: StoredAgent };

export function agentOperations(deps: Dependencies): readonly Operation[] {
  return [
    createOperation(deps),
    listOperation(deps),
    getOperation(deps),
    versionsOperation(deps),
    putOperation(deps),
    deleteOperation(deps),
  ];
}

function createOperation(deps: Dependencies): Operation {
  return operation({
    method: "post",
    path: "/v1/agents",
    id: "createAgent",
    summary: "Make an agent",
    description:
      "Its first version. An agent that says nothing of a policy asks a person before a tool changes the world.",
    headers: IdempotencyHeaders,
    body: PostAgent,
    answers: {
      201: { description: "The agent was made.", ...KEPT },
      200: { description: "It was made before, with the same content.", ...KEPT },
    },
    problems: ["CONFLICT"],
    handle: async ({ body, request }) => {
      const { id: given, ...profile } = body;
      const key = idempotencyKey(request);
      const id = given ?? agentIdFor(profile.name, key === undefined ? undefined : agentIdForKey(key));
      const wanted = await checked(deps, id, profile);
      return reply(await createAgent(deps.store.database, wanted));
    },
  });
}

const PutHeaders = z.object({
  "if-match": z
    .string()
    .regex(/^(W\/)?"\d{1,9}"$/, 'expected a version in quotes, such as "3"')
    .optional()
    .meta({ description: 'The version that must be the newest, in quotes: `"3"`.' }),
});

function putOperation(deps: Dependencies): Operation {
  return operation({
    method: "put",
    path: "/v1/agents/{agentId}",
    id: "putAgent",
    summary: "Make a new version of an agent",
    description:
      "The first one, when there is no such agent. Content equal to the newest version's makes nothing. Sessions keep the version that they have; `PATCH /v1/sessions/{sessionId}` moves one.",
    params: AgentParams,
    headers: PutHeaders,
    body: PutAgent,
    answers: {
      201: { description: "A new version was made.", ...KEPT },
      200: { description: "The newest version is so already.", ...KEPT },
    },
    problems: ["CONFLICT"],
    handle: async ({ params, body, request }) => {
      const ifMatch = parseFrom(PutHeaders, { "if-match": request.get("if-match") }, "headers")["if-match"];
      const ifVersion = ifMatch === undefined ? undefined : Number(ifMatch.replaceAll(/[^\d]/g, ""));
      const wanted = await checked(deps, params.agentId, body);
      return reply(await putAgent(deps.store.database, { ...wanted, ifVersion }));
    },
  });
}

async function checked(deps: Dependencies, id: AgentId, profile: PutAgent) {
  const { database } = deps.store;
  const agent = toAgent(profile);
  const around = { database, workers: await runningWorkers(database) };
  const faults = await agentFaults({ agent, at: agentPointers(profile, ""), id }, around);
  if (faults.length > 0) throw invalid(faults);
  return { id, agent, source: SOURCE };
}

function reply({ stored, created }: AgentKept): Reply {
  return { status: created ? 201 : 200, body: stored, headers: { ETag: `"${stored.version}"` } };
}

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/agents",
    id: "listAgents",
    summary: "List agents by id, each in its newest version",
    query: z.strictObject(PageQuery),
    answers: { 200: { description: "A page of agents.", contentType: JSON_TYPE, schema: AgentList } },
    problems: [],
    handle: async ({ query }) => {
      const limit = query.limit ?? LIMITS.agentsPerPage.default;
      const after = query.cursor === undefined ? undefined : fromCursor(query.cursor, AgentId);
      return page(await listAgents(deps.store.database, { after, limit }), ({ id }) => id);
    },
  });
}

function versionsOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/agents/{agentId}/versions",
    id: "listAgentVersions",
    summary: "List the versions of an agent, newest first",
    description: "Those that were deleted too: sessions may run them still.",
    params: AgentParams,
    query: z.strictObject(PageQuery),
    answers: { 200: { description: "A page of versions.", contentType: JSON_TYPE, schema: AgentList } },
    problems: ["AGENT_NOT_FOUND"],
    handle: async ({ params, query }) => {
      const limit = query.limit ?? LIMITS.agentsPerPage.default;
      const before = query.cursor === undefined ? undefined : Number(fromCursor(query.cursor, Version));
      const range = { before, limit };
      const versions = await listAgentVersions(deps.store.database, params.agentId, range);
      if (versions.rows.length === 0 && before === undefined) throw unknownAgent(params.agentId);
      return page(versions, ({ version }) => String(version));
    },
  });
}

function page({ rows: agents, hasMore }: Page<StoredAgent>, placeOf: (agent: StoredAgent) => string): Reply {
  const last = agents.at(-1);
  const next = hasMore && last ? Buffer.from(placeOf(last)).toString("base64url") : null;
  return { status: 200, body: { agents, next } };
}

const Version = z.string().regex(/^\d{1,9}$/);

function fromCursor(cursor: string, schema: z.ZodString | typeof AgentId): string {
  const read = schema.safeParse(Buffer.from(cursor, "base64url").toString("utf8"));
  if (!read.success) throw invalidField("/query/cursor", "expected the `next` of another page");
  return read.data;
}

function getOperation(deps: Dependencies): Operation {
  const version = integerParameter({ min: 1, max: VERSION_MAX }, "a version").optional();
  return operation({
    method: "get",
    path: "/v1/agents/{agentId}",
    id: "getAgent",
    summary: "Look at an agent",
    params: AgentParams,
    query: z.strictObject({
      version: version.meta({ description: "Default: the newest. Named, also of a deleted one." }),
    }),
    answers: { 200: { description: "The version.", ...KEPT } },
    problems: ["AGENT_NOT_FOUND"],
    handle: async ({ params, query }) => {
      const stored = await getAgent(deps.store.database.read, params.agentId, query.version);
      return reply({ stored, created: false });
    },
  });
}

function deleteOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: "/v1/agents/{agentId}",
    id: "deleteAgent",
    summary: "Delete an agent",
    description: "New sessions cannot have it; those that pin a version of it go on.",
    params: AgentParams,
    answers: { 204: { description: "It is deleted, now or before." } },
    problems: ["AGENT_NOT_FOUND"],
    handle: async ({ params }) => {
      if (!(await deleteAgent(deps.store.database, params.agentId))) throw unknownAgent(params.agentId);
      return { status: 204 };
    },
  });
}

function unknownAgent(id: AgentId): ProblemError {
  return new ProblemError("AGENT_NOT_FOUND", `there is no agent ${id}; GET /v1/agents lists what there is`);
}
