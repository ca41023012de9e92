/** `perdure dev`, `perdure api` and `perdure worker`: what the client commands talk to. */
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { programArguments } from "../package-root.ts";
import { type ToolsOptions, toolsEnvironment, withTools } from "../tool-modules.ts";

export function addProcesses(program: Command, io: Io, end: (exitCode: number) => void): void {
  const everything = program
    .command("dev")
    .description("Run everything on this machine until Ctrl-C: Temporal, one worker, one API (as npm start).")
    .option("--ui", "Temporal's UI, too, for browsers of this machine", false);
  withTools(everything).action(async ({ ui, ...options }: ToolsOptions & { readonly ui: boolean }) => {
    const { dev } = await import("../dev.ts");
    end(await dev({ stdout: io.stdout, stderr: io.stderr, env: toolsEnvironment(io.env, options), ui }));
  });
  program
    .command("api")
    .description("Run one API process against TEMPORAL_ADDRESS.")
    .action(() => load("api/main"));
  const worker = program.command("worker").description("Run one worker process against TEMPORAL_ADDRESS.");
  withTools(worker).action(async (options: ToolsOptions) => {
    // It is this process that becomes the worker, and a worker reads its environment.
    Object.assign(process.env, toolsEnvironment(io.env, options));
    await load("workers/main");
  });
}

/** Runs one of our programs in this process. By path, because this folder must not depend on those. */
async function load(name: string): Promise<void> {
  const file = programArguments(name).at(-1);
  if (file === undefined) throw new Error(`the program ${name} has no file`);
  await import(pathToFileURL(file).href);
}
