/** Runs before every npm script: installs what is missing and finds a Temporal server, so that a fresh clone needs one command. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensureDependencies } from "./dependencies.mjs";
import { getTemporal } from "./get-temporal.mjs";
import { withProgress } from "./progress.mjs";

const NODE_MAJOR_MIN = 20;

/** With `--no-temporal`: for scripts that need no server of ours. */
async function setUp(args) {
  const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
  if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
    throw new Error(`Node ${NODE_MAJOR_MIN} or newer is needed to set up; this is ${process.version}`);
  }
  await withProgress("looking at the packages", (onProgress) => ensureDependencies({ root, onProgress }));
  const isWanted = !args.includes("--no-temporal") && !process.env.TEMPORAL_ADDRESS;
  if (isWanted) await withProgress("looking for Temporal", (log) => getTemporal({ log }));
}

try {
  await setUp(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`perdure set-up: ${error.message}\n`);
  process.exitCode = 1;
}
