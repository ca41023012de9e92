/**
 * What of an agent its schema cannot see: names of backends, tools, models and agents that must exist, policies and schemas
 * that must parse. All faults together, each with the place in the request where it was said.
 */
import path from "node:path";
import { BACKENDS, findBackend } from "../backends/registry.ts";
import { type Agent, BuiltInTool, HANDOFF_PREFIX } from "../contract/agents.ts";
import type { WorkerAnnouncement } from "../contract/backends.ts";
import { LIMITS } from "../contract/limits.ts";
import { findAgent, findAgentVersion } from "../store/agents.ts";
import type { Database } from "../store/database.ts";
import { faultsOfPolicy } from "../threads/judgement.ts";
import { faultsOfSchemas } from "../threads/schemas.ts";
import type { Fault } from "./input.ts";
import { sandboxFaults } from "./sandbox-check.ts";

/**
 * Where a field of the agent (or one setting of its model) stands in the request; undefined for what is not in it: that was
 * checked when it was stored, and who did not say it cannot mend it.
 */
export type Pointers = (field: keyof Agent, setting?: string) => string | undefined;

export interface CheckedAgent {
  readonly agent: Agent;
  readonly at: Pointers;
  /** Of an agent that is to be stored: its id. Its model must be one that the workers know, where they know any. */
  readonly id?: string;
}

/** What there is besides the agent. */
export interface Surroundings {
  readonly database: Database;
  readonly workers: readonly WorkerAnnouncement[];
}

const NAMES_SHOWN = 12;
/** The longest name of a tool that every provider takes. */
const TOOL_NAME_MAX = 64;

export async function agentFaults(checked: CheckedAgent, around: Surroundings): Promise<readonly Fault[]> {
  return [
    ...(await ownFaults(checked)),
    ...(await handoffFaults(checked, (id, version) => isThere(around.database, id, version))),
    ...(await workerFaults(checked, around.workers)),
  ];
}

async function isThere(database: Database, id: string, version: number | undefined): Promise<boolean> {
  const found = version === undefined ? findAgent(database.read, id) : findAgentVersion(database.read, { id, version });
  return (await found) !== undefined;
}

/** Faults of the agent by itself. */
export async function ownFaults(checked: CheckedAgent): Promise<readonly Fault[]> {
  const { agent, at } = checked;
  return [
    ...backendFaults(checked),
    ...duplicates(agent.tools, at("tools"), "this tool is there twice"),
    ...(await faultsAt(at("policy"), async () =>
      agent.policy ? await faultsOfPolicy(agent.policy, agent.tools) : [],
    )),
    ...(await faultsAt(at("files"), async () => fileFaults(agent))),
    ...(await faultsAt(at("outputSchema"), async () => {
      const faults = await faultsOfSchemas(agent.outputSchema ? [agent.outputSchema] : []);
      return faults.flatMap((message) => (message === undefined ? [] : [{ path: "", message }]));
    })),
  ];
}

async function faultsAt(place: string | undefined, find: () => Promise<readonly Fault[]>): Promise<readonly Fault[]> {
  if (place === undefined) return [];
  return (await find()).map((fault) => ({ path: place + fault.path, message: fault.message }));
}

function duplicates(names: readonly string[], place: string | undefined, message: string): readonly Fault[] {
  if (place === undefined) return [];
  return names.flatMap((name, i) => (names.indexOf(name) < i ? [{ path: `${place}/${i}`, message }] : []));
}

function backendFaults({ agent, at }: CheckedAgent): readonly Fault[] {
  const backend = findBackend(agent.backend);
  if (!backend) {
    const place = at("backend");
    const names = BACKENDS.map(({ name }) => name).join(", ");
    return place === undefined ? [] : [{ path: place, message: `expected one of ${names}; found ${agent.backend}` }];
  }
  const taken: readonly string[] = backend.capabilities.settings;
  const words = taken.length > 0 ? `it takes ${taken.join(", ")}` : "it takes none";
  return Object.keys(agent.modelSettings).flatMap((setting) => {
    const place = taken.includes(setting) ? undefined : at("modelSettings", setting);
    return place === undefined
      ? []
      : [{ path: place, message: `the ${backend.name} backend takes no ${setting}; ${words}` }];
  });
}

function fileFaults({ files }: Agent): readonly Fault[] {
  const paths = files.map((file) => path.posix.normalize(file.path));
  const faults = paths.flatMap((one, i): Fault[] => {
    if (paths.indexOf(one) < i) return [{ path: `/${i}/path`, message: "this path is there twice" }];
    const isFolder = paths.some((other) => other.startsWith(`${one}/`));
    return isFolder ? [{ path: `/${i}/path`, message: "this path is the folder of another file" }] : [];
  });
  const bytes = files.reduce((sum, { content, data }) => sum + bytesOf(content, "utf8") + bytesOf(data, "base64"), 0);
  if (bytes <= LIMITS.agentFilesBytesMax) return faults;
  return [
    ...faults,
    { path: "", message: `expected at most ${LIMITS.agentFilesBytesMax} bytes of files; found ${bytes}` },
  ];
}

function bytesOf(text: string | undefined, encoding: "utf8" | "base64"): number {
  return text === undefined ? 0 : Buffer.byteLength(text, encoding);
}

/** @param isKnown Whether there is such an agent, in this version when one is named. */
export async function handoffFaults(
  { agent, at, id }: CheckedAgent,
  isKnown: (id: string, version: number | undefined) => Promise<boolean>,
): Promise<readonly Fault[]> {
  const place = at("handoffs");
  if (place === undefined) return [];
  const names = agent.handoffs.map((handoff) => handoff.agent);
  const faults: Fault[] = [];
  for (const [i, handoff] of agent.handoffs.entries()) {
    const message = await handoffFault(handoff);
    if (message !== undefined) faults.push({ path: `${place}/${i}/agent`, message });
    else if (names.indexOf(handoff.agent) < i)
      faults.push({ path: `${place}/${i}/agent`, message: "this agent is there twice" });
  }
  return faults;

  async function handoffFault(handoff: Agent["handoffs"][number]): Promise<string | undefined> {
    if (handoff.agent === id) return "an agent cannot hand over to itself";
    if (HANDOFF_PREFIX.length + handoff.agent.length > TOOL_NAME_MAX) {
      return `expected an id of at most ${TOOL_NAME_MAX - HANDOFF_PREFIX.length} characters: ${HANDOFF_PREFIX}<id> is the name of a tool`;
    }
    if (await isKnown(handoff.agent, handoff.version)) return undefined;
    const version = handoff.version === undefined ? "" : ` in version ${handoff.version}`;
    return `there is no agent ${handoff.agent}${version}`;
  }
}

/** Faults that follow from what the running workers say: one that starts later may mend them. */
export async function workerFaults(
  checked: CheckedAgent,
  workers: readonly WorkerAnnouncement[],
): Promise<readonly Fault[]> {
  return [
    ...toolFaults(checked, workers),
    ...modelFaults(checked, workers),
    ...(await faultsAt(checked.at("sandbox"), async () => sandboxFaults(checked.agent, workers))),
  ];
}

function toolFaults({ agent, at }: CheckedAgent, workers: readonly WorkerAnnouncement[]): readonly Fault[] {
  const place = at("tools");
  if (place === undefined) return [];
  const added = workers.flatMap((worker) => worker.tools.map((tool) => tool.name));
  const known = new Set<string>([...BuiltInTool.options, ...added]);
  return agent.tools.flatMap((tool, i) => {
    const fault = reserved(tool) ?? (known.has(tool) ? undefined : unknownTool(known));
    return fault === undefined ? [] : [{ path: `${place}/${i}`, message: fault }];
  });
}

/** Why no tool may have this name. */
export function reserved(tool: string): string | undefined {
  return tool.startsWith(HANDOFF_PREFIX) ? `names that begin with ${HANDOFF_PREFIX} are for handing over` : undefined;
}

function unknownTool(known: ReadonlySet<string>): string {
  return `no running worker has this tool; there are ${some([...known])}, and \`perdure worker --tools\` loads others`;
}

function modelFaults({ agent, at, id }: CheckedAgent, workers: readonly WorkerAnnouncement[]): readonly Fault[] {
  const place = at("model");
  if (place === undefined || id === undefined || agent.model === undefined) return [];
  const models = workers
    .flatMap((worker) => worker.backends.filter((backend) => backend.name === agent.backend))
    .flatMap((backend) => backend.models.map((model) => model.id));
  if (models.length === 0 || models.includes(agent.model)) return [];
  return [
    { path: place, message: `the ${agent.backend} backend has no such model; it has ${some([...new Set(models)])}` },
  ];
}

function some(names: readonly string[]): string {
  const more = names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : "";
  return names.slice(0, NAMES_SHOWN).join(", ") + more;
}
