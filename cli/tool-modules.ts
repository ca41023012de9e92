/** `--tools <module>` of the commands that start a worker: handed on as PERDURE_TOOLS, after what that says already. */
import { existsSync } from "node:fs";
import path from "node:path";
import type { Command } from "commander";
import { UsageError } from "./usage-error.ts";

/** As PATH is written; contract/config.ts reads it so. */
const SEPARATOR = ":";

export interface ToolsOptions {
  readonly tools: readonly string[];
}

export function withTools(command: Command): Command {
  const collect = (module: string, before: readonly string[]): readonly string[] => [...before, module];
  return command.option("--tools <module>", "a module with tools of your own; may be given several times", collect, []);
}

/** The environment of a worker that loads these modules. @throws UsageError for one that the variable cannot hold. */
export function toolsEnvironment(env: NodeJS.ProcessEnv, { tools }: ToolsOptions): NodeJS.ProcessEnv {
  const modules = tools.map((module) => {
    // By its whole path, wherever the worker runs. What is no file may be a package; the worker says when it is neither.
    const file = path.resolve(module);
    const named = existsSync(file) ? file : module;
    if (!named.includes(SEPARATOR)) return named;
    throw new UsageError(`--tools ${module}: expected a path without a colon`);
  });
  const given = env["PERDURE_TOOLS"];
  const all = [...(given ? [given] : []), ...modules];
  return all.length > 0 ? { ...env, PERDURE_TOOLS: all.join(SEPARATOR) } : env;
}
