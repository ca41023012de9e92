/**
 * Which worker a piece of work goes to: workers differ in their tools, backends, sandbox providers and secrets.
 *
 * Whoever gets work that its worker cannot do looks, among those that announce themselves, for one that can, and names its queue;
 * the workflow asks there (`SandboxRoute`). Where nobody can, the work waits for somebody who comes, told in the log, for a
 * bounded time. What is not named at all is not looked for: the hot path asks the worker's own sets and nothing else.
 */
import { ApplicationFailure } from "@temporalio/activity";
import type { Agent } from "../contract/agents.ts";
import type { WorkerAnnouncement } from "../contract/backends.ts";
import type { SessionId } from "../contract/ids.ts";
import { ELSEWHERE } from "../contract/steps.ts";
import { workerQueue } from "../contract/task-queue.ts";
import type { Database } from "../store/database.ts";
import { currentSandbox, type SandboxRecord } from "../store/sandboxes.ts";
import { sessionSetup } from "../store/session-setup.ts";
import { type WorkToWait, waitForWorker } from "../store/work-waits.ts";
import { type LivingWorker, livingWorkers } from "../store/workers.ts";
import type { RunToolDeps } from "./run-tool.ts";

export interface Needs {
  readonly tools?: readonly string[];
  readonly backend?: string;
  readonly provider?: string | undefined;
  /** The host that the session's sandbox lives on. */
  readonly host?: string | undefined;
  /** Wished for: without them the work is done all the same, and says so. */
  readonly secrets?: readonly string[];
}

export type PlacementDeps = Pick<RunToolDeps, "store" | "sandboxes" | "tools" | "secrets" | "host"> & {
  readonly backends?: ReadonlyMap<string, unknown>;
  /** The id by which this worker announces itself. */
  readonly worker?: string;
};

/** What this worker does not have of it, in words. */
export function lacking(deps: PlacementDeps, needs: Needs): readonly string[] {
  const { provider, backend } = needs;
  const hasProvider =
    provider === undefined || deps.sandboxes.entries.some((one) => one.name === provider && one.provider);
  return [
    ...(backend !== undefined && deps.backends && !deps.backends.has(backend) ? [`backend ${backend}`] : []),
    ...(needs.tools ?? []).filter((name) => !deps.tools.find(name)).map((name) => `tool ${name}`),
    ...(hasProvider ? [] : [`sandbox provider ${provider}`]),
  ];
}

function lackingSecrets(deps: PlacementDeps, needs: Needs): readonly string[] {
  return (needs.secrets ?? []).filter((name) => !deps.secrets?.values.has(name));
}

export type Placed =
  | { readonly at: "here" }
  | { readonly at: "elsewhere"; readonly queue: string }
  /** Nobody who lives can do it. */
  | { readonly at: "nowhere"; readonly missing: readonly string[] };

const HERE = { at: "here" } as const;

/** Where the work can be done. Reads nothing while this worker has all of it. */
export async function place(
  deps: PlacementDeps,
  needs: Needs,
  from: Database["read"] = deps.store.database.read,
): Promise<Placed> {
  const missing = lacking(deps, needs);
  const wished = lackingSecrets(deps, needs);
  if (missing.length === 0 && wished.length === 0) return HERE;
  const able = (await livingWorkers(from)).filter(({ id, said }) => id !== deps.worker && canDo(said, needs));
  // Somebody who has the secrets, too, is better; but nobody who has fewer of them than this worker.
  const best = able.filter(({ said }) => hasAll(said.secrets ?? [], needs.secrets ?? []));
  if (missing.length === 0) return best.length === 0 ? HERE : elsewhereAt(deps, best);
  if (able.length === 0) return { at: "nowhere", missing };
  return elsewhereAt(deps, best.length > 0 ? best : able);
}

function canDo(said: WorkerAnnouncement, needs: Needs): boolean {
  return (
    (needs.host === undefined || said.host === needs.host) &&
    hasAll(
      said.tools.map(({ name }) => name),
      needs.tools ?? [],
    ) &&
    (needs.backend === undefined || said.backends.some(({ name }) => name === needs.backend)) &&
    (needs.provider === undefined || said.sandboxes.some((one) => one.name === needs.provider && one.available))
  );
}

function hasAll(have: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((name) => have.includes(name));
}

/** Any of them, so that one does not get all of the work. */
function elsewhereAt(deps: PlacementDeps, able: readonly LivingWorker[]): Placed {
  const chosen = able[Math.floor(Math.random() * able.length)];
  if (!chosen) return HERE;
  const queue = workerQueue(deps.store.stack, { host: chosen.said.host, worker: chosen.id });
  return { at: "elsewhere", queue };
}

/**
 * The queue of a worker that is known to be set up for this backend, when this one is not: its provider has just refused it, and
 * has answered the other.
 */
export async function betterSetUp(deps: PlacementDeps, agent: Agent, code: string): Promise<string | undefined> {
  const workers = await livingWorkers(deps.store.database.read);
  const { backend, model } = agent;
  const isGood = ({ said }: LivingWorker): boolean => {
    const own = said.backends.find(({ name }) => name === backend);
    if (own?.validation?.valid !== true) return false;
    return code !== "MODEL_NOT_FOUND" || own.models.some(({ id }) => id === model);
  };
  const here = workers.find(({ id }) => id === deps.worker);
  if (here && isGood(here)) return undefined;
  const needs = { backend, tools: agent.tools };
  const able = workers.filter((one) => one.id !== deps.worker && canDo(one.said, needs) && isGood(one));
  const placed = elsewhereAt(deps, able);
  return placed.at === "elsewhere" ? placed.queue : undefined;
}

/** How the workflow learns where to ask. Benign: it is no fault of anybody. */
export function elsewhereFor(queue: string): ApplicationFailure {
  return ApplicationFailure.create({
    message: "another worker has what this needs",
    type: ELSEWHERE,
    nonRetryable: true,
    details: [queue],
    category: "BENIGN",
  });
}

/** Temporal has it tried again in a while, by whichever worker takes it then. */
export function nobodyYet(missing: readonly string[], againMs: number): ApplicationFailure {
  return ApplicationFailure.create({
    message: `no running worker has ${missing.join(", ")}`,
    type: "NoWorker",
    nextRetryDelay: againMs,
    category: "BENIGN",
  });
}

/** What a session's sandbox needs of a worker: the provider that has it or will, the host it lives on. */
export async function sandboxNeeds(
  deps: PlacementDeps,
  sessionId: SessionId,
): Promise<Needs & { readonly agent: Agent }> {
  const [record, { agent }] = await Promise.all([
    currentSandbox(deps.store.database, sessionId),
    sessionSetup(deps.store.database.read, sessionId),
  ]);
  return { agent, ...needsOf(deps, agent, record) };
}

/** The same of an agent and a sandbox that are known already. */
export function needsOf(deps: PlacementDeps, agent: Agent, record: SandboxRecord | undefined): Needs {
  const isThere = record?.state === "ready" || record?.state === "starting";
  return {
    provider: isThere ? record.provider : agent.sandbox?.provider,
    host: isThere && record.host === deps.host ? record.host : undefined,
    secrets: (agent.secrets ?? []).map(({ name }) => name),
  };
}

/**
 * Throws where the work is to be done by another worker, or later by one that is awaited. Comes back where it is done here: also
 * when nobody has come in time, and the work itself says what it misses.
 */
export async function requireAble(
  deps: PlacementDeps,
  needs: Needs,
  { againMs, ...wait }: WorkToWait & { readonly againMs: number },
): Promise<void> {
  const placed = await place(deps, needs);
  if (placed.at === "here") return;
  if (placed.at === "elsewhere") throw elsewhereFor(placed.queue);
  if (await deps.store.database.write((tx) => waitForWorker(tx, wait))) throw nobodyYet(placed.missing, againMs);
}
