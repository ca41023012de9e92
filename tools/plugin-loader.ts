/**
 * Loads modules with tools of one's own (`perdure worker --tools`, PERDURE_TOOLS). A module that cannot be used is a fault of
 * the set-up, told in one line; all of them are told at once.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { LIMITS } from "../contract/limits.ts";
import { readPlugin } from "./plugin-shape.ts";
import { createPluginTool, type LoadedTool, type PluginOutside } from "./plugin-tool.ts";
import type { Tool } from "./tool.ts";

/** A tool and the plugin that it comes from. */
export interface SourcedTool {
  readonly source: string;
  readonly tool: Tool;
}

/** The modules cannot be used. The message has one line per fault. */
export class PluginError extends Error {
  override readonly name = "PluginError";
}

export interface PluginOptions extends PluginOutside {
  /** What relative paths of modules are relative to. */
  readonly folder: string;
}

interface Loading {
  /** As it was given. */
  readonly module: string;
  readonly tools: readonly { readonly source: string; readonly loaded: LoadedTool }[];
  readonly faults: readonly string[];
}

/** @throws PluginError that names every module that cannot be used, with what is wrong. */
export async function loadPlugins(modules: readonly string[], options: PluginOptions): Promise<readonly SourcedTool[]> {
  const loadings: Loading[] = [];
  // One after another: what a module does when it is loaded may depend on those before it.
  for (const module of new Set(modules)) loadings.push(await loadModule(module, options));
  const faults = loadings.flatMap(({ module, faults: found }) => found.map((fault) => `${module}: ${oneLine(fault)}`));
  faults.push(...doubleNames(loadings));
  if (faults.length > 0) throw new PluginError(options.redact(faults.join("\n")));
  return loadings.flatMap(({ tools }) =>
    tools.map(({ source, loaded }) => ({ source, tool: createPluginTool(loaded, options) })),
  );
}

async function loadModule(module: string, { folder, work }: PluginOptions): Promise<Loading> {
  const file = fileOf(module, folder);
  if (file === undefined) return { module, tools: [], faults: ["there is no such module"] };
  let exported: Readonly<Record<string, unknown>>;
  try {
    exported = await inTime(work.run({ module }, () => import(pathToFileURL(file).href)));
  } catch (error) {
    return { module, tools: [], faults: [`it cannot be loaded: ${words(error)}`] };
  }
  const candidates = pluginsIn(exported);
  if (candidates.length === 0) {
    return {
      module,
      tools: [],
      faults: ["it exports no tool plugin; expected an export such as {name, tools: [...]}"],
    };
  }
  const read = await Promise.all(candidates.map(readPlugin));
  return { module, tools: read.flatMap(({ tools }) => tools), faults: read.flatMap(({ faults }) => faults) };
}

/** A path, or the name of a package as it is found from the folder. */
function fileOf(module: string, folder: string): string | undefined {
  const file = path.resolve(folder, module);
  if (existsSync(file)) return file;
  if (module.startsWith(".") || path.isAbsolute(module)) return undefined;
  try {
    return createRequire(path.join(folder, "from-here.js")).resolve(module);
  } catch {
    return undefined;
  }
}

/** What is meant as a plugin: a default export of any shape, any other that has tools, and what lists of those hold. */
function pluginsIn(exported: Readonly<Record<string, unknown>>): readonly unknown[] {
  const found = new Set<unknown>(); // A CommonJS module exports the same both ways.
  for (const [name, value] of Object.entries(exported)) {
    const values = Array.isArray(value) ? value : [value];
    if (values.some(hasTools)) for (const one of values) found.add(one);
    else if (name === "default" && typeof value === "object" && value !== null && !Object.values(value).some(hasTools))
      found.add(value);
  }
  return [...found];
}

function hasTools(value: unknown): boolean {
  return typeof value === "object" && value !== null && "tools" in value;
}

function doubleNames(loadings: readonly Loading[]): readonly string[] {
  const first = new Map<string, string>();
  const faults: string[] = [];
  for (const { module, tools } of loadings) {
    for (const { loaded } of tools) {
      const before = first.get(loaded.name);
      if (before === undefined) first.set(loaded.name, module);
      else
        faults.push(
          `${module}: the tool ${loaded.name} is there twice${before === module ? "" : `; ${before} has it too`}`,
        );
    }
  }
  return faults;
}

/** A module may wait at its top for something that never comes. */
async function inTime<T>(loading: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const words = `it was not loaded within ${LIMITS.toolModuleTimeoutMs / 1_000} s`;
    timer = setTimeout(() => reject(new Error(words)), LIMITS.toolModuleTimeoutMs);
  });
  return await Promise.race([loading, late]).finally(() => clearTimeout(timer));
}

function words(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function oneLine(text: string): string {
  return text
    .trim()
    .replace(/\s*\n\s*/g, "; ")
    .slice(0, LIMITS.reasonCharactersMax);
}
