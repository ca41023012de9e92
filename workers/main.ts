/** The worker process. Its first act is to ask for Node's compile cache: a process that was killed has to be back at once. */
import { enableCompileCache } from "node:module";

enableCompileCache();
const { runWorker } = await import("./process.ts");
runWorker();
