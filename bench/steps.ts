/** What a step costs: a hundred of them with a quick tool and with a command, beside the cost of the model endpoint alone. */
import { setTimeout as delay } from "node:timers/promises";
import type { ScriptStep } from "../test/support/model-endpoint.ts";
import { scripted, type World } from "../test/support/world.ts";
import { type Measured, percentile, type Summary, showMs, summarize } from "./table.ts";
import { openSession, reads, runs, runTurn, stepStarts } from "./timed-turn.ts";

const STEPS = 100;
const ROUNDS = 3;
const LAST = { text: "That was all of it, twenty words or so of an answer that nobody reads but that ends the turn." };
const PRINT_1KB = "printf '%01023d\\n' 1";
const MUST = { read: 28, bash: 42, overEndpoint: { copilot: 120, openai: 45 } };

export interface StepContext {
  readonly world: World;
  readonly modelUrl: string;
}

export async function measureReadSteps({ world, modelUrl }: StepContext): Promise<Measured> {
  const step = reads("kb1.txt", STEPS);
  const perStep = await perStepMs(world, step);
  const floor = await floorMs(modelUrl, step);
  const ratio = (perStep.median / floor.median).toFixed(1);
  return {
    key: "step-read",
    value: showMs(perStep),
    passes: perStep.median <= MUST.read,
    notes: [
      `${ROUNDS} rounds of ${STEPS} steps, each in a session of its own that had its first turn before`,
      `the model endpoint alone (the same requests by bare fetch, same run): ${showMs(floor)} per step, so we are at ${ratio} × of it`,
    ],
    data: { perStep, floor },
  };
}

export async function measureBashSteps({ world }: StepContext): Promise<Measured> {
  const perStep = await perStepMs(world, runs(PRINT_1KB, STEPS));
  return {
    key: "step-bash",
    value: showMs(perStep),
    passes: perStep.median <= MUST.bash,
    notes: [`${ROUNDS} rounds of ${STEPS} steps; each command is a shell that prints 1 KB`],
    data: { perStep },
  };
}

/** Step by step, because what the copilot runtime does before and after its first request is in none of the others. */
export async function measureCopilotSteps({ world, modelUrl }: StepContext): Promise<Measured> {
  const step = reads("kb1.txt", STEPS);
  const floor = percentile(await floorSteps(modelUrl, step), 50);
  const copilot = await intervals(world, step, "copilot");
  const openai = await intervals(world, step, "openai");
  const over = { copilot: percentile(copilot, 50) - floor, openai: percentile(openai, 50) - floor };
  const must = MUST.overEndpoint;
  const all = (values: readonly number[]): string =>
    `${[50, 95].map((percent) => percentile(values, percent).toFixed(1)).join(" / ")} ms`;
  return {
    key: "step-copilot",
    value: `${over.copilot.toFixed(1)} ms; ${over.openai.toFixed(1)} ms`,
    passes: over.copilot <= must.copilot && over.openai <= must.openai,
    notes: [
      `${ROUNDS} turns of ${STEPS} steps each; from one step.started to the next, p50 / p95: copilot ${all(copilot)}, openai ${all(openai)}`,
      `of that the model endpoint alone (bare fetch, same run) is ${floor.toFixed(1)} ms, which is taken off`,
    ],
    data: { floor, copilot, openai },
  };
}

/** From the start of each step to that of the next, over all rounds. */
async function intervals(world: World, step: ScriptStep, backend: string): Promise<readonly number[]> {
  const values: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const session = await openSession(world, { backend });
    const starts = stepStarts(await runTurn(session, step, LAST));
    values.push(...starts.slice(1).map((at, index) => at - (starts[index] ?? at)));
    await session.client.close();
    await session.reader.until("session.closed", () => session.reader.isClosed);
  }
  return values;
}

async function perStepMs(world: World, step: ScriptStep): Promise<Summary> {
  const values: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const session = await openSession(world);
    const turn = await runTurn(session, step, LAST);
    values.push(turn.totalMs / STEPS);
    await session.client.close();
    await session.reader.until("session.closed", () => session.reader.isClosed);
    await delay(100);
  }
  return summarize(values);
}

/** The requests of such a turn by bare fetch: what the endpoint and the loopback cost whoever asks. */
async function floorMs(modelUrl: string, step: ScriptStep): Promise<Summary> {
  const values: number[] = [];
  for (let round = 0; round < 3; round++) values.push((await floorTurnMs(modelUrl, step)) / STEPS);
  return summarize(values);
}

async function floorTurnMs(modelUrl: string, step: ScriptStep): Promise<number> {
  return (await floorSteps(modelUrl, step)).reduce((sum, ms) => sum + ms, 0);
}

/** What each request of such a turn costs by bare fetch, in order. */
export async function floorSteps(modelUrl: string, step: ScriptStep): Promise<readonly number[]> {
  const steps: number[] = [];
  const text = `${scripted(step, LAST)} round ${Math.random()}`;
  const input: unknown[] = [{ role: "user", content: [{ type: "input_text", text }] }];
  const output = "0".repeat(1_023);
  for (;;) {
    const startedAt = performance.now();
    const call = await ask(modelUrl, input);
    steps.push(performance.now() - startedAt);
    if (!call) return steps;
    input.push({ type: "function_call", ...call }, { type: "function_call_output", call_id: call.call_id, output });
  }
}

interface FunctionCall {
  readonly call_id: string;
  readonly name: string;
  readonly arguments: string;
}

async function ask(modelUrl: string, input: readonly unknown[]): Promise<FunctionCall | undefined> {
  const response = await fetch(`${modelUrl}/responses`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "scripted-model", input, stream: true }),
  });
  const frames = await response.text();
  const last = /"type":"response\.completed".*/.exec(frames)?.[0];
  if (last === undefined) throw new Error(`the model endpoint answered ${response.status}: ${frames.slice(0, 300)}`);
  const { output } = (JSON.parse(`{${last}`) as { response: { output: (FunctionCall & { type: string })[] } }).response;
  const call = output.find((item) => item.type === "function_call");
  return call && { call_id: call.call_id, name: call.name, arguments: call.arguments };
}
