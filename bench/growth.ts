/** What grows with a turn: the time of a step, Temporal's history, the stores. */
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { World } from "../test/support/world.ts";
import { floorSteps, type StepContext } from "./steps.ts";
import { type Measured, percentile, showKb } from "./table.ts";
import { type OpenSession, openSession, reads, runs, runTurn, stepStarts, type TimedTurn } from "./timed-turn.ts";

const STEPS = 1_010;
const BASH_STEPS = 100;
const STORE_STEPS = 100;
/** A bound on the walk through a session's runs. */
const RUNS_MAX = 100;
const MUST = { ratio: 1.2, events: 14, bytes: 4 * 1024, storeBytes: 1_000_000 };
const LAST = { text: "done" };

export async function measureLongTurn({ world, modelUrl }: StepContext): Promise<Measured> {
  const small = await longTurn(world, "one.txt");
  const kb1 = await longTurn(world, "kb1.txt");
  const floor = await floorGrowth(modelUrl);
  const own = (kb1.late - floor.late) / (kb1.early - floor.early);
  return {
    key: "step-1000",
    value: `${small.ratio.toFixed(2)} ×; 1 KB: ${own.toFixed(2)} × (${kb1.ratio.toFixed(2)} × with the endpoint)`,
    passes: small.ratio <= MUST.ratio && own <= MUST.ratio,
    notes: [
      `one turn of ${STEPS} steps; median time of steps 980..1,000 against steps 15..35`,
      `small results: ${small.early.toFixed(1)} → ${small.late.toFixed(1)} ms, ${small.ratio.toFixed(2)} ×`,
      `1 KB results: ${kb1.early.toFixed(1)} → ${kb1.late.toFixed(1)} ms, ${kb1.ratio.toFixed(2)} ×: the request is 1.3 MB by then`,
      `the same requests by bare fetch, same run: ${floor.early.toFixed(1)} → ${floor.late.toFixed(1)} ms; without them we go from ` +
        `${(kb1.early - floor.early).toFixed(1)} to ${(kb1.late - floor.late).toFixed(1)} ms, ${own.toFixed(2)} ×. That and the small results decide`,
    ],
    data: { kb1, small, floor },
  };
}

async function floorGrowth(modelUrl: string): Promise<{ readonly early: number; readonly late: number }> {
  const steps = await floorSteps(modelUrl, reads("kb1.txt", STEPS));
  return { early: percentile(steps.slice(14, 35), 50), late: percentile(steps.slice(979, 1_000), 50) };
}

interface LongTurn {
  readonly early: number;
  readonly late: number;
  readonly ratio: number;
}

async function longTurn(world: World, file: "one.txt" | "kb1.txt"): Promise<LongTurn> {
  const session = await openSession(world);
  const turn = await runTurn(session, reads(file, STEPS), LAST);
  await close(session);
  const early = medianStep(turn, 15, 35);
  const late = medianStep(turn, 980, 1_000);
  return { early, late, ratio: late / early };
}

/** From the start of a step to the start of the next one, for the steps from `first` to `last`. */
function medianStep(turn: TimedTurn, first: number, last: number): number {
  const starts = stepStarts(turn).slice(first - 1, last + 1);
  return percentile(
    starts.slice(1).map((at, index) => at - (starts[index] ?? at)),
    50,
  );
}

export async function measureHistory(world: World): Promise<Measured> {
  const read = await historyOf(world, async (session) => {
    await runTurn(session, reads("kb20.txt", STEPS), LAST);
  });
  const command = "cat kb20.txt";
  const bash = await historyOf(world, async (session) => {
    await runTurn(session, runs(command, BASH_STEPS), LAST);
  });
  const show = ({ events, bytes }: PerStep): string => `${events.toFixed(1)} events, ${Math.round(bytes)} bytes`;
  return {
    key: "history",
    value: `${show(read.last)} (\`bash\`: ${show(bash.last)})`,
    passes: [read.last, bash.last].every(({ events, bytes }) => events <= MUST.events && bytes <= MUST.bytes),
    notes: [
      `one turn of ${STEPS} \`read_file\` steps of 20 KB; this is the run (of ${read.runs}, by continue-as-new) that holds step 1,000, its size by the steps in it`,
      `all runs of that session: ${show(read.all)} per step`,
      `\`bash\`: ${BASH_STEPS} steps with a command that prints 20 KB; it decides, too`,
    ],
    data: { read, bash },
  };
}

interface PerStep {
  readonly events: number;
  readonly bytes: number;
}
interface HistorySize {
  readonly runs: number;
  /** Of the newest run that holds steps. */
  readonly last: PerStep;
  readonly all: PerStep;
}

/** The history that some work in a new session makes, as Temporal tells it, over all runs of its workflow. */
async function historyOf(world: World, work: (session: OpenSession) => Promise<void>): Promise<HistorySize> {
  const session = await openSession(world);
  await work(session);
  const sizes: RunSize[] = [];
  // From the newest run back to the first, each of which names the one before.
  for (let runId: string | undefined; sizes.length < RUNS_MAX; ) {
    const size: RunSize = await sizeOfRun(world, session.client.id, runId);
    sizes.push(size);
    if (size.before === undefined) break;
    runId = size.before;
  }
  await close(session);
  const sum = (pick: (size: RunSize) => number): number => sizes.reduce((total, size) => total + pick(size), 0);
  // A session continues as new when a turn ends: its newest run may hold no step at all.
  const last = sizes.find((size) => size.steps > 0);
  if (!last) throw new Error("no run of the session holds a step");
  const steps = sum((size) => size.steps);
  return {
    runs: sizes.length,
    last: { events: last.events / last.steps, bytes: last.bytes / last.steps },
    all: { events: sum((size) => size.events) / steps, bytes: sum((size) => size.bytes) / steps },
  };
}

interface RunSize extends PerStep {
  readonly steps: number;
  /** The run that continued as this one. */
  readonly before: string | undefined;
}

async function sizeOfRun(world: World, workflowId: string, runId: string | undefined): Promise<RunSize> {
  const { workflow } = await world.temporal();
  const handle = workflow.getHandle(workflowId, runId);
  const { historyLength, historySize } = await handle.describe();
  const { events } = await handle.fetchHistory();
  const scheduled = (events ?? []).map((event) => event.activityTaskScheduledEventAttributes?.activityType?.name);
  const before = events?.[0]?.workflowExecutionStartedEventAttributes?.continuedExecutionRunId;
  return {
    events: historyLength,
    bytes: historySize ?? 0,
    steps: scheduled.filter((name) => name === "runStep").length,
    before: before === "" || before === null ? undefined : before,
  };
}

export async function measureStores(world: World): Promise<Measured> {
  const session = await openSession(world);
  const before = storeSizes(world.stateDir);
  await runTurn(session, reads("kb1.txt", STORE_STEPS), LAST);
  const after = storeSizes(world.stateDir);
  await close(session);
  const grown = (store: string): number => (after[store] ?? 0) - (before[store] ?? 0);
  const total = Object.keys(after).reduce((sum, store) => sum + grown(store), 0);
  return {
    key: "stores",
    value: showKb(total),
    passes: total <= MUST.storeBytes,
    notes: [
      `growth of the used pages of each database (after a checkpoint of its WAL) and of the blobs, over one turn: ` +
        Object.keys(after)
          .map((store) => `${store} ${showKb(grown(store))}`)
          .join(", "),
    ],
    data: { before, after },
  };
}

/** Bytes in use, by store. Pages that are free again do not count, so that what was deleted before hides nothing. */
function storeSizes(stateDir: string): Record<string, number> {
  return {
    "perdure.db": databaseBytes(path.join(stateDir, "perdure.db")),
    "temporal.db": databaseBytes(path.join(stateDir, "temporal.db")),
    blobs: folderBytes(path.join(stateDir, "blobs")),
  };
}

function databaseBytes(file: string): number {
  const database = new DatabaseSync(file, { timeout: 5_000 });
  try {
    const pragma = (name: string): number => Number(Object.values(database.prepare(`pragma ${name}`).get() ?? {})[0]);
    pragma("wal_checkpoint(truncate)");
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  } finally {
    database.close();
  }
}

function folderBytes(folder: string): number {
  if (!existsSync(folder)) return 0;
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.reduce((sum, file) => sum + statSync(path.join(file.parentPath, file.name)).size, 0);
}

async function close({ client, reader }: OpenSession): Promise<void> {
  await client.close();
  await reader.until("session.closed", () => reader.isClosed);
}
