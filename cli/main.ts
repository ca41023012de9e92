#!/usr/bin/env node
/** The `perdure` command. It asks for Node's compile cache before it loads anything: a command is started anew each time. */
import { enableCompileCache } from "node:module";

enableCompileCache();
// A reader that has seen enough, such as head, closes the pipe: there is nobody left to tell anything.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
const { runProgram } = await import("./program.ts");
// Not an exit: an api or a worker that was started here runs on.
process.exitCode = await runProgram(process);
