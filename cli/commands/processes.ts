/** `perdure dev`, `perdure api` and `perdure worker`: what the client commands talk to. */
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { programArguments } from "../package-root.ts";

export function addProcesses(program: Command, io: Io, end: (exitCode: number) => void): void {
  program
    .command("dev")
    .description("Run everything on this machine until Ctrl-C: Temporal, one worker, one API (as npm start).")
    .action(async () => {
      const { dev } = await import("../dev.ts");
      end(await dev(io));
    });
  program
    .command("api")
    .description("Run one API process against TEMPORAL_ADDRESS.")
    .action(() => load("api/main"));
  program
    .command("worker")
    .description("Run one worker process against TEMPORAL_ADDRESS.")
    .action(() => load("workers/main"));
}

/** Runs one of our programs in this process. By path, because this folder must not depend on those. */
async function load(name: string): Promise<void> {
  const file = programArguments(name).at(-1);
  if (file === undefined) throw new Error(`the program ${name} has no file`);
  await import(pathToFileURL(file).href);
}
