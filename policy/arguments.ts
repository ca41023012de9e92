/** A call as rules look at it: each argument read once, as a command line, as paths or as text. */
import { LIMITS } from "../contract/limits.ts";
import { type CommandLine, readCommandLine, readWithoutParser } from "./command.ts";
import { namesInWorkspace } from "./paths.ts";

export type ArgumentKind = "command" | "path";

export interface CallToJudge {
  readonly tool: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Arguments that are not text. A name that is not here is text. */
  readonly argumentKinds: Readonly<Record<string, ArgumentKind>>;
  readonly changesWorld: boolean;
  readonly needsApproval: boolean;
  /** Absolute path of the workspace, by which absolute paths in it are known. */
  readonly workspace?: string;
}

/** Paths below the workspace by their names; undefined for one that leads out of it, or is not a path. */
export type Places = readonly (readonly string[] | undefined)[];

export interface Reading {
  readonly call: CallToJudge;
  readonly commands: ReadonlyMap<string, CommandLine>;
  places(name: string): Places;
  /** Undefined when the argument is absent. */
  text(name: string): string | undefined;
}

/** By call, because many grants and rules look at the same one. A call that is gone takes its reading along. */
const readings = new WeakMap<CallToJudge, Reading>();

export function readCall(call: CallToJudge): Reading {
  return readings.get(call) ?? keepReading(call, new Map(commandsOf(call)));
}

/** Reads the call's lines if they need no parser: then what that costs is known by their length. */
export function readCheaply(call: CallToJudge): boolean {
  if (readings.has(call)) return true;
  const commands = new Map<string, CommandLine>();
  for (const name of Object.keys(call.argumentKinds)) {
    const value = argumentOf(call, name);
    if (kindOf(call, name) !== "command" || value === undefined) continue;
    const line = typeof value === "string" ? readWithoutParser(value) : undefined;
    if (line === undefined) return false;
    commands.set(name, line);
  }
  keepReading(call, commands);
  return true;
}

function keepReading(call: CallToJudge, commands: ReadonlyMap<string, CommandLine>): Reading {
  const reading: Reading = {
    call,
    commands,
    places: (name) => placesOf(argumentOf(call, name), call.workspace),
    text: (name) => {
      const value = argumentOf(call, name);
      return value === undefined ? undefined : textOf(value);
    },
  };
  readings.set(call, reading);
  return reading;
}

export function kindOf({ argumentKinds }: CallToJudge, name: string): ArgumentKind | "text" {
  return (Object.hasOwn(argumentKinds, name) ? argumentKinds[name] : undefined) ?? "text";
}

function commandsOf(call: CallToJudge): [string, CommandLine][] {
  return Object.keys(call.argumentKinds).flatMap((name): [string, CommandLine][] => {
    const value = argumentOf(call, name);
    if (kindOf(call, name) !== "command" || value === undefined) return [];
    if (typeof value === "string") return [[name, readCommandLine(value)]];
    return [[name, { segments: [], unread: { why: "is not a text", isTakenApart: false, texts: [textOf(value)] } }]];
  });
}

function placesOf(value: unknown, workspace: string | undefined): Places {
  const paths = Array.isArray(value) ? value : [value ?? "."];
  return paths.map((path) => (typeof path === "string" ? namesInWorkspace(path, workspace) : undefined));
}

/** An own property: a tool may well have an argument named `constructor`. */
function argumentOf({ arguments: values }: CallToJudge, name: string): unknown {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : canonicalJson(value, 0);
}

/** JSON with the names of each object in order, so that equal values have one text. */
function canonicalJson(value: unknown, depth: number): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? String(value);
  if (depth > LIMITS.jsonDepthMax) return "…";
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(",")}]`;
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field, depth + 1)}`);
  return `{${fields.join(",")}}`;
}
