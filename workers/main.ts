/** The worker process. Its first act is to ask for Node's compile cache: a process that was killed has to be back at once. */
import { enableCompileCache } from "node:module";
import { SPARE_ARGUMENT } from "../contract/config.ts";
import { takeHandedVariables } from "./handed-variables.ts";

enableCompileCache();
takeHandedVariables(process.env);
const { runWorker } = await import("./process.ts");
if (process.argv.includes(SPARE_ARGUMENT)) {
  const { untilNeeded } = await import("./spare.ts");
  await untilNeeded();
}
runWorker();
