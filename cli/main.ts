#!/usr/bin/env node
/** The `perdure` command. It asks for Node's compile cache before it loads anything: a command is started anew each time. */
import * as nodeModule from "node:module";

const NODE_MIN = [22, 18] as const;
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
  process.stderr.write(`perdure needs Node ${NODE_MIN.join(".")} or newer; this is ${process.version}\n`);
  process.exit(2);
}
nodeModule.enableCompileCache();
// A reader that has seen enough, such as head, closes the pipe: there is nobody left to tell anything.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
const { runProgram } = await import("./program.ts");
// Not an exit: an api or a worker that was started here runs on.
process.exitCode = await runProgram(process);
