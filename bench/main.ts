/** `npm run bench`: measures every row of the table from outside and prints it; exits 1 when a row is not what it must be. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startWorld } from "../test/support/world.ts";
import { copilotEnv } from "./chaos/run.ts";
import { measureCommands, measureFirstCommand } from "./commands.ts";
import { measureHistory, measureLongTurn, measureStores } from "./growth.ts";
import { measureApproval, measureFirstEvent, measureFirstToken, measureWatchers } from "./latency.ts";
import { measureLoad } from "./load.ts";
import { measureGap, measureKills } from "./recovery.ts";
import { measureSnapshots } from "./snapshots.ts";
import { measureBashSteps, measureCopilotSteps, measureReadSteps, type StepContext } from "./steps.ts";
import { type Measured, ROWS, type RowKey, renderTable } from "./table.ts";

/** Rows that are measured together. */
interface Group {
  readonly keys: readonly RowKey[];
  readonly measure: (context: StepContext) => Promise<readonly Measured[]>;
}

/** In the order in which they are measured: what wants a stack that has not done much comes first. */
const GROUPS: readonly Group[] = [
  { keys: ["step-read"], measure: async (context) => [await measureReadSteps(context)] },
  { keys: ["step-bash"], measure: async (context) => [await measureBashSteps(context)] },
  { keys: ["step-copilot"], measure: async (context) => [await measureCopilotSteps(context)] },
  { keys: ["stores"], measure: async ({ world }) => [await measureStores(world)] },
  { keys: ["first-event"], measure: async (context) => [await measureFirstEvent(context)] },
  { keys: ["first-token"], measure: async (context) => [await measureFirstToken(context)] },
  { keys: ["approval"], measure: async (context) => [await measureApproval(context)] },
  { keys: ["watchers"], measure: async (context) => [await measureWatchers(context)] },
  { keys: ["step-1000"], measure: async (context) => [await measureLongTurn(context)] },
  { keys: ["history"], measure: async ({ world }) => [await measureHistory(world)] },
  { keys: ["exec-local"], measure: async () => [await measureCommands("exec-local")] },
  { keys: ["exec-bubblewrap"], measure: async () => [await measureCommands("exec-bubblewrap")] },
  { keys: ["exec-docker"], measure: async () => [await measureCommands("exec-docker")] },
  { keys: ["exec-modal"], measure: async () => [await measureCommands("exec-modal")] },
  { keys: ["first-command"], measure: async () => [await measureFirstCommand()] },
  { keys: ["snapshot", "restore"], measure: () => measureSnapshots() },
  { keys: ["worker-gap"], measure: ({ world }) => measureGap(world) },
  { keys: ["worker-kill", "api-kill"], measure: ({ world }) => measureKills(world) },
  {
    keys: ["load"],
    measure: async ({ world }) => {
      // The worker's memory must be that of a worker that has done nothing else.
      await world.restart();
      return [await measureLoad(world)];
    },
  },
];

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: "string" }, json: { type: "string" } } });
  const keys = Object.keys(ROWS) as RowKey[];
  const wanted = values.only === undefined ? keys : keys.filter((key) => values.only?.split(",").includes(key));
  if (wanted.length === 0) {
    process.stderr.write(`--only takes one or more of ${keys.join(", ")}, with commas between them\n`);
    return 2;
  }
  await using endpoint = await startEndpoint();
  await using world = await startWorld({ modelUrl: endpoint.url, env: copilotEnv(endpoint.url) });
  const measured: Measured[] = [];
  for (const group of GROUPS) {
    if (group.keys.some((key) => wanted.includes(key)))
      measured.push(...(await measureGroup(group, { world, modelUrl: endpoint.url })));
  }
  // Printed in the order of the table, whatever the order of measuring.
  const rows = wanted.flatMap((key) => measured.find((row) => row.key === key) ?? []);
  process.stdout.write(renderTable(rows));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 1)}\n`);
  return rows.some((row) => row.passes === false) ? 1 : 0;
}

/** The rows of a group; rows that say why not when it cannot be measured, so that the others still are. */
async function measureGroup(group: Group, context: StepContext): Promise<readonly Measured[]> {
  const startedAt = Date.now();
  try {
    const rows = await group.measure(context);
    const took = ((Date.now() - startedAt) / 1_000).toFixed(1);
    for (const { key, value } of rows) process.stderr.write(`${key}: ${value} (measured in ${took} s)\n`);
    return rows;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${group.keys.join(", ")}: not measured: ${why}\n`);
    const value = `not measured: ${why.split("\n")[0]?.slice(0, 120)}`;
    return group.keys.map((key) => ({ key, value, passes: false, notes: [], data: why }));
  }
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

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
