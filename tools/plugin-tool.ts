/** A plugin's tool as a tool like any other: with its time limit, its stop, its log and its errors in words. */
import type { z } from "zod";
import { LIMITS } from "../contract/limits.ts";
import { SandboxError } from "../sandbox/provider.ts";
import type { LogLine, PluginContext, PluginLog, PluginTool } from "./plugin.ts";
import type { ReadParameters } from "./plugin-parameters.ts";
import { messageOf, resultOf } from "./plugin-result.ts";
import { CallSandbox, notedCommands } from "./plugin-sandbox.ts";
import type { PluginWork } from "./plugin-work.ts";
import type { ArgumentKind, ReplayRule, Tool, ToolContext, ToolResult } from "./tool.ts";

/** A plugin's tool, checked and with its defaults. */
export interface LoadedTool {
  readonly name: string;
  readonly description: string;
  readonly parameters: ReadParameters;
  readonly replay: ReplayRule;
  readonly timeoutMs: number;
  readonly changesWorld: boolean;
  readonly needsApproval: boolean;
  readonly changesFiles: boolean;
  readonly argumentKinds: Readonly<Record<string, ArgumentKind>>;
  readonly execute: PluginTool["execute"];
}

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface PluginOutside {
  /** The worker's log. */
  log(level: LogLevel, fields: Readonly<Record<string, unknown>>, message: string): void;
  /** Takes secrets out of a text. */
  redact(text: string): string;
  /** Knows each call by the work that it does. */
  readonly work: PluginWork;
}

type Settled = { readonly value: unknown } | { readonly thrown: unknown };

const LOG_CHARACTERS = 4_000;
const MESSAGE_CHARACTERS = 2_000;

export function createPluginTool(loaded: LoadedTool, outside: PluginOutside): Tool<z.ZodType> {
  const { name, description, parameters, replay, changesFiles, changesWorld, needsApproval, argumentKinds } = loaded;
  return {
    name,
    description,
    parameters: parameters.schema,
    jsonSchema: parameters.jsonSchema,
    ...(parameters.isHard && { hardSchema: parameters.jsonSchema }),
    replay,
    quick: false,
    changesFiles,
    changesWorld,
    needsApproval,
    argumentKinds,
    startedCommands: notedCommands,
    summary: () => name, // What its arguments hold is not known here, and a summary is kept in Temporal's history.
    run: (args, context) => runTool({ loaded, outside }, args as Readonly<Record<string, unknown>>, context),
  };
}

interface Plugged {
  readonly loaded: LoadedTool;
  readonly outside: PluginOutside;
}

async function runTool(
  plugged: Plugged,
  args: Readonly<Record<string, unknown>>,
  context: ToolContext,
): Promise<ToolResult> {
  const { loaded } = plugged;
  const over = new AbortController();
  const signal = AbortSignal.any([context.signal, over.signal]);
  const late = new Error(`${loaded.name} timed out after ${loaded.timeoutMs} ms`);
  const timer = setTimeout(() => over.abort(late), loaded.timeoutMs);
  const sandbox = new CallSandbox(context, signal);
  try {
    const log = createLog(plugged, context);
    const given = pluginContext(context, { signal, sandbox, log });
    const settled = plugged.outside.work.run(placeOf(plugged, context), () =>
      settle(() => loaded.execute(args, given)),
    );
    const first = await Promise.race([settled, aborted(signal)]);
    if (first !== undefined && !signal.aborted) return toResult(plugged, context, first);
    // It was told to stop. One that does not listen is left behind, and its sandbox refuses it from now on.
    const last = await within(settled, LIMITS.toolStopMs);
    if (context.signal.aborted && !context.isStopped()) return leave(plugged, context, last);
    await sandbox.stop();
    return stoppedResult(plugged, context, last);
  } finally {
    clearTimeout(timer);
    over.abort(new Error(`the call of ${loaded.name} has ended`));
  }
}

function pluginContext(
  { sessionId, callId, attempt, environment }: ToolContext,
  made: Pick<PluginContext, "signal" | "sandbox" | "log">,
): PluginContext {
  return { sessionId, callId, attempt, environment, ...made };
}

/** Never rejects, also when nobody waits for it any more. */
async function settle(work: () => unknown): Promise<Settled> {
  try {
    return { value: await work() };
  } catch (thrown) {
    return { thrown };
  }
}

function toResult(plugged: Plugged, context: ToolContext, settled: Settled): ToolResult {
  const { loaded, outside } = plugged;
  // An error that was given back instead of thrown: as JSON it would be {}.
  const isError = "value" in settled && settled.value instanceof Error;
  if ("value" in settled && !isError) return resultOf(loaded.name, settled.value);
  const thrown = "value" in settled ? settled.value : settled.thrown;
  // Not the tool's doing: whoever runs the call knows what becomes of it.
  if (thrown instanceof SandboxError && thrown.kind === "lost") throw thrown;
  const stack = thrown instanceof Error ? String(thrown.stack) : messageOf(thrown);
  outside.log("warn", { ...placeOf(plugged, context), stack: shown(outside, stack) }, "a tool failed");
  return {
    outcome: "error",
    text: redacted(outside, `${loaded.name} failed: ${messageOf(thrown)}`, MESSAGE_CHARACTERS),
  };
}

/** This worker goes down, or another attempt took over: the replay rule says what becomes of a call that has no result. */
function leave(plugged: Plugged, context: ToolContext, settled: Settled | undefined): ToolResult {
  if (settled !== undefined && "value" in settled) return toResult(plugged, context, settled);
  throw context.signal.reason;
}

function stoppedResult({ loaded }: Plugged, context: ToolContext, settled: Settled | undefined): ToolResult {
  const { name, timeoutMs } = loaded;
  const wasStopped = context.signal.aborted;
  const why = wasStopped ? `${name} was interrupted` : `${name} timed out after ${timeoutMs} ms and was told to stop`;
  const lines = [why];
  if (settled === undefined)
    lines.push(`It did not stop within ${LIMITS.toolStopMs} ms; what it still does is unknown.`);
  else if ("value" in settled) lines.push(`What it had by then: ${resultOf(name, settled.value).text}`);
  const text = lines.length === 1 ? `${why}.` : lines.join(".\n");
  return { outcome: wasStopped ? "interrupted" : "error", text };
}

function createLog(plugged: Plugged, context: ToolContext): PluginLog {
  const { outside } = plugged;
  const place = placeOf(plugged, context);
  const at =
    (level: LogLevel): LogLine =>
    (message, fields = {}) => {
      const own = Object.entries(fields).map(([name, value]) => [name, shownField(outside, name, value)]);
      // The place last: a line says where it comes from whatever the tool names its fields.
      outside.log(level, { ...Object.fromEntries(own), ...place }, shown(outside, String(message)));
    };
  return Object.assign(at("info"), { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") });
}

function placeOf({ loaded }: Plugged, { sessionId, callId }: ToolContext): Readonly<Record<string, unknown>> {
  return { sessionId, callId, tool: loaded.name };
}

function shown(outside: PluginOutside, text: string): string {
  return redacted(outside, text, LOG_CHARACTERS);
}

/** Redacted before it is cut: half a secret looks like none. */
function redacted(outside: PluginOutside, text: string, charactersMax: number): string {
  return outside.redact(text.slice(0, charactersMax * 2)).slice(0, charactersMax);
}

/** With its name, for that may be what makes it a secret. */
function shownField(outside: PluginOutside, name: string, value: unknown): unknown {
  if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
  let text: string;
  try {
    text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    text = "(cannot be shown)";
  }
  const pair = shown(outside, `${name}=${text}`);
  return pair.startsWith(`${name}=`) ? pair.slice(name.length + 1) : "[redacted]";
}

/** Resolves with nothing when the signal aborts. */
function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}

async function within<T>(promise: Promise<T>, timeoutMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
