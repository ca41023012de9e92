/** Places each kind of work before it is begun: a step, a call, a command, the making of a sandbox. */
import type { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CallKey, StepRequest } from "../contract/steps.ts";
import { sessionSetup } from "../store/session-setup.ts";
import { callToPlace, waitForStep } from "../store/work-waits.ts";
import { elsewhereFor, lacking, nobodyYet, type PlacementDeps, place, requireAble, sandboxNeeds } from "./placement.ts";

/** Throws where another worker is to run the step, or one that is awaited. */
export async function placeStep(deps: PlacementDeps, request: StepRequest): Promise<void> {
  const { agent } = await sessionSetup(deps.store.database.read, request.sessionId);
  const needs = { backend: agent.backend, tools: agent.tools };
  if (lacking(deps, needs).length === 0) return;
  const placed = await place(deps, needs);
  if (placed.at === "elsewhere") throw elsewhereFor(placed.queue);
  if (placed.at === "here") return;
  if (await waitForStep(deps.store.database, request, placed.missing)) {
    throw nobodyYet(placed.missing, LIMITS.workerLookMs);
  }
}

/** The same of one call, by the tool that it needs. */
export async function placeCall(deps: PlacementDeps, { sessionId, callId }: CallKey): Promise<void> {
  const call = await callToPlace(deps.store.database.read, callId);
  if (!call) return;
  const { agent: _, ...needs } = await sandboxNeeds(deps, sessionId);
  const all = { ...needs, tools: [call.name] };
  const missing = [...lacking(deps, all)];
  await requireAble(deps, all, {
    sessionId,
    name: callId,
    againMs: LIMITS.workerLookMs,
    fact: (deadline) => ({ type: "step.waiting", turnId: call.turnId, step: call.step, callId, missing, deadline }),
  });
}

/** The same of a caller's command. Its row stays `planned` while it waits. */
export async function placeCommand(deps: PlacementDeps, { sessionId, callId }: CallKey): Promise<void> {
  const { agent: _, ...needs } = await sandboxNeeds(deps, sessionId);
  await requireAble(deps, needs, { sessionId, name: callId, againMs: LIMITS.workerLookBesideMs });
}

/** A sandbox may live where it is made, and nowhere else: so it is made where the agent's tools are, when somebody has them. */
export async function placeSandbox(deps: PlacementDeps, { sessionId }: Pick<CallKey, "sessionId">): Promise<void> {
  const { agent, ...needs } = await sandboxNeeds(deps, sessionId);
  const placed = await place(deps, { ...needs, tools: agent.tools });
  if (placed.at === "elsewhere") throw elsewhereFor(placed.queue);
}

/** Ending what calls have started takes their tools; where nobody has them, the rest is ended all the same. */
export async function placeStop(
  deps: PlacementDeps,
  {
    sessionId,
    calls,
  }: {
    readonly sessionId: CallKey["sessionId"];
    readonly calls: readonly { readonly callId: CallId; readonly name: string }[];
  },
): Promise<void> {
  const tools = [...new Set(calls.map(({ name }) => name))];
  if (lacking(deps, { tools }).length === 0) return;
  const { agent: _, ...needs } = await sandboxNeeds(deps, sessionId);
  const placed = await place(deps, { ...needs, secrets: [], tools });
  if (placed.at === "elsewhere") throw elsewhereFor(placed.queue);
}
