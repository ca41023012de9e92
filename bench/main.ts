/** `npm run bench`: measures every row of the table from outside and prints it; exits 1 when a row is not what it must be. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startWorld } from "../test/support/world.ts";
import { measureHistory, measureLongTurn, measureStores } from "./growth.ts";
import { measureFirstEvent, measureFirstToken, measureWatchers } from "./latency.ts";
import { measureLoad } from "./load.ts";
import { measureApiKill, measureWorkerKill } from "./recovery.ts";
import { measureBashSteps, measureReadSteps, type StepContext } from "./steps.ts";
import { type Measured, ROWS, type RowKey, renderTable } from "./table.ts";

type Measure = (context: StepContext) => Promise<Measured>;

/** In the order in which they are measured: what wants a stack that has not done much comes first. */
const MEASURES: Readonly<Record<RowKey, Measure>> = {
  "step-read": measureReadSteps,
  "step-bash": measureBashSteps,
  stores: ({ world }) => measureStores(world),
  "first-event": measureFirstEvent,
  "first-token": measureFirstToken,
  watchers: measureWatchers,
  "step-1000": ({ world }) => measureLongTurn(world),
  history: ({ world }) => measureHistory(world),
  "worker-kill": ({ world }) => measureWorkerKill(world),
  "api-kill": ({ world }) => measureApiKill(world),
  load: async ({ world }) => {
    // The worker's memory must be that of a worker that has done nothing else.
    await world.restart();
    return await measureLoad(world);
  },
};

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: "string" }, json: { type: "string" } } });
  const keys = Object.keys(MEASURES) as RowKey[];
  const wanted = values.only === undefined ? keys : keys.filter((key) => values.only?.split(",").includes(key));
  if (wanted.length === 0) {
    process.stderr.write(`--only takes one or more of ${keys.join(", ")}, with commas between them\n`);
    return 2;
  }
  await using endpoint = await startEndpoint();
  await using world = await startWorld({ modelUrl: endpoint.url });
  const measured = new Map<RowKey, Measured>();
  for (const key of wanted) {
    const startedAt = Date.now();
    const row = await MEASURES[key]({ world, modelUrl: endpoint.url });
    measured.set(key, row);
    process.stderr.write(`${key}: ${row.value} (measured in ${((Date.now() - startedAt) / 1_000).toFixed(1)} s)\n`);
  }
  // Printed in the order of the table, whatever the order of measuring.
  const rows = (Object.keys(ROWS) as RowKey[]).flatMap((key) => measured.get(key) ?? []);
  process.stdout.write(renderTable(rows));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 1)}\n`);
  return rows.some((row) => row.passes === false) ? 1 : 0;
}

/** The scripted model as a process of its own, so that it does not share an event loop with the client that measures. */
async function startEndpoint(): Promise<AsyncDisposable & { readonly url: string }> {
  const program = fileURLToPath(new URL("../test/support/model-endpoint.ts", import.meta.url));
  const child = spawn(process.execPath, [program, "--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { url } = JSON.parse(line) as { url: string };
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

process.exitCode = await main();
