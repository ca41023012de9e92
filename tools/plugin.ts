/**
 * Tools of one's own: what a module that `perdure worker --tools` loads exports.
 *
 * A plain object of this shape is enough; the two functions below only help the compiler. The module is the operator's own
 * code and runs inside the worker: it is trusted as the worker is.
 */
import type { CallId, SessionId } from "../contract/ids.ts";
import type { ArgumentKind, ReplayRule } from "./tool.ts";

/** A JSON schema, an object at its top; or a schema of zod 4. */
export type PluginParameters = Readonly<Record<string, unknown>> | StandardSchema;

/** What zod and others have in common (https://standardschema.dev). */
export interface StandardSchema {
  readonly "~standard": { readonly types?: { readonly output: unknown } | undefined };
}

/** The arguments as `execute` gets them: the schema's own type, or a plain record for a JSON schema. */
export type PluginArguments<P> = P extends {
  readonly "~standard": { readonly types?: { readonly output: infer Output } | undefined };
}
  ? Output
  : Readonly<Record<string, unknown>>;

/** One tool. What is optional has the careful default. */
export interface PluginTool<P extends PluginParameters = PluginParameters> {
  /** 1 to 64 letters, digits, _ or -; not one of the built-in tools', and unlike `transfer_to_…`. */
  readonly name: string;
  /** For the model: what it does, and when to use it. */
  readonly description: string;
  readonly parameters: P;
  /**
   * What happens when it was started and its worker died before its result was kept. `safe`: it runs again, the effect is the
   * same. `keyed`: it runs again with the same `callId`, by which it knows what it has done. `ask` (default): a person is
   * asked whether it may run again.
   */
  readonly replay?: ReplayRule;
  /** Default 2 minutes, at most 6 hours. Then the signal is aborted, and the call ends as an error. */
  readonly timeoutMs?: number;
  /** Whether it does more than look: a policy that says nothing of it asks first. Default true. */
  readonly changesWorld?: boolean;
  /** It never runs without a person's approval, unless a policy's rule allows it. Default false. */
  readonly needsApproval?: boolean;
  /** Whether it may leave new or changed files in the workspace. Default true. */
  readonly changesFiles?: boolean;
  /** How a policy's patterns are matched with these arguments; any other is plain text. */
  readonly argumentKinds?: Readonly<Record<string, ArgumentKind>>;
  /**
   * Does the work. A text is the result as it is, anything else becomes JSON, nothing at all a word that it is done. What it
   * throws is told to the model as the tool's error: the message without its stack, and without what looks like a secret.
   * It must end soon after `context.signal` aborts.
   */
  execute(args: PluginArguments<P>, context: PluginContext): unknown;
}

/** Some tools under one name, which says where they come from. */
export interface ToolPlugin {
  readonly name: string;
  readonly tools: readonly PluginTool[];
}

export interface PluginContext {
  readonly sessionId: SessionId;
  /** The same for every attempt of this call: the key for effects that must not happen twice. */
  readonly callId: CallId;
  /** 1 for the first run of this call, more after a lost worker. */
  readonly attempt: number;
  /** Aborts when the turn is stopped, the time is up, or the worker goes down; and when the call has ended. */
  readonly signal: AbortSignal;
  readonly sandbox: PluginSandbox;
  /** A line of the worker's log, with the session and the call. `log(…)` is `log.info(…)`. What looks like a secret is left out. */
  readonly log: PluginLog;
  /** The agent's variables. Commands of the sandbox have them already. */
  readonly environment: Readonly<Record<string, string>>;
}

export type LogLine = (message: string, fields?: Readonly<Record<string, unknown>>) => void;

export interface PluginLog extends LogLine {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
}

/**
 * The session's sandbox. Paths are relative to the workspace, or absolute inside it; one that leads out is refused. Every
 * method throws when the signal has aborted.
 */
export interface PluginSandbox {
  /** The workspace, as its commands see it. */
  readonly workspace: string;
  /** A whole file of at most 16 MiB. */
  readFile(path: string): Promise<Uint8Array>;
  /** Replaces a file at once, and makes its folders. */
  writeFile(path: string, content: string | Uint8Array): Promise<void>;
  /** Entries below a folder, depth-first; of its own level only, unless a depth is given. */
  listFiles(
    path?: string,
    options?: { readonly depth?: number; readonly max?: number },
  ): Promise<readonly PluginFile[]>;
  /**
   * Runs a command line to its end. It is started once for its place in this call, whatever becomes of the worker: when
   * another attempt asks for the same command as its first (second, third …), it gets what that one printed. So ask for
   * the same commands in the same order.
   */
  exec(command: string, options?: { readonly cwd?: string; readonly timeoutMs?: number }): Promise<PluginCommandResult>;
}

export interface PluginFile {
  /** Relative to the workspace. */
  readonly path: string;
  readonly kind: "file" | "folder" | "symlink" | "other";
  readonly bytes: number;
}

export interface PluginCommandResult {
  /** null when it did not exit by itself; `ended` says what happened. */
  readonly exitCode: number | null;
  /** The first MiB. */
  readonly stdout: string;
  readonly stderr: string;
  /** `unknown`: it was started, its process is gone, and nobody saw its end. */
  readonly ended: "exited" | "signalled" | "timed_out" | "killed" | "unknown";
}

/** A tool with its arguments typed by its schema. Changes nothing. */
export function defineTool<P extends PluginParameters>(tool: PluginTool<P>): PluginTool<P> {
  return tool;
}

/** A plugin whose tools are typed each by its own schema. Changes nothing. */
export function definePlugin<P extends readonly PluginParameters[]>(plugin: {
  readonly name: string;
  readonly tools: { readonly [I in keyof P]: PluginTool<P[I]> };
}): ToolPlugin {
  return plugin;
}
