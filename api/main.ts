/** The API process. Its first act is to ask for Node's compile cache: a process that was killed has to be back at once. */
import { enableCompileCache, flushCompileCache } from "node:module";

enableCompileCache();
process.umask(0o077); // What it writes is for its own user; a worker's commands write as their own umask says.
const { runApi } = await import("./process.ts");
await runApi();
flushCompileCache(); // Now, because a killed process writes nothing at its end.
