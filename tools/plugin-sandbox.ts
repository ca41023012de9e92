/** The sandbox as a plugin's tool has it: files, and commands that are started once for their place in the call. */
import { createHash } from "node:crypto";
import { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CommandEnd, CommandEvent } from "../sandbox/provider.ts";
import type { PluginCommandResult, PluginSandbox } from "./plugin.ts";
import { NO_REDACTION, type Redactor } from "./redactor.ts";
import { startWith } from "./secret-variables.ts";
import type { ToolContext } from "./tool.ts";
import { decode, headOf } from "./utf8.ts";

/** What a call remembers of its commands: enough for a stop to find them. */
const COMMANDS_NOTED = 48;
const HASH_CHARACTERS = 10;

type Options = NonNullable<Parameters<PluginSandbox["exec"]>[1]>;

export class CallSandbox implements PluginSandbox {
  readonly workspace: string;
  readonly #context: ToolContext;
  readonly #signal: AbortSignal;
  /** Commands that may still run: this attempt's, and those of attempts that were lost. */
  readonly #running: Set<CallId>;
  readonly #noted: CallId[];
  #count = 0;

  /** @param signal The call's own: it aborts with the context's, when the time is up, and when the call has ended. */
  constructor(context: ToolContext, signal: AbortSignal) {
    this.#context = context;
    this.#signal = signal;
    this.workspace = context.sandbox.workspace;
    this.#noted = notedCommands(context.intent);
    this.#running = new Set(this.#noted);
  }

  async readFile(path: string): Promise<Uint8Array> {
    this.#signal.throwIfAborted();
    return await this.#context.sandbox.readFile(path);
  }

  async writeFile(path: string, content: string | Uint8Array): Promise<void> {
    this.#signal.throwIfAborted();
    await this.#context.sandbox.writeFile(path, typeof content === "string" ? Buffer.from(content) : content);
  }

  listFiles: PluginSandbox["listFiles"] = async (path = ".", { depth = 1, max = LIMITS.listEntriesMax } = {}) => {
    this.#signal.throwIfAborted();
    return await this.#context.sandbox.listFiles(path, { depth, max });
  };

  async exec(command: string, options: Options = {}): Promise<PluginCommandResult> {
    // Counted before anything is awaited, so that commands that are run beside each other keep their places.
    this.#count += 1;
    const timeoutMs = checkedTimeout(options.timeoutMs);
    const callId = commandId(this.#context.callId, this.#count, `${options.cwd ?? ""}\0${command}`);
    this.#signal.throwIfAborted();
    await this.#note(callId);
    this.#running.add(callId);
    const { sandbox, secrets } = this.#context;
    // Nothing is awaited between this look and the start: a stop that comes later finds the command among the running.
    this.#signal.throwIfAborted();
    await sandbox.start({
      callId,
      command,
      timeoutMs,
      ...startWith(this.#context, command),
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    const events = sandbox.follow(callId, { stdout: 0, stderr: 0 }, this.#signal);
    const result = await collect(events, secrets?.redactor ?? NO_REDACTION);
    if (result === undefined) throw this.#signal.reason;
    this.#running.delete(callId);
    return result;
  }

  /** Ends what still runs of the call's commands. */
  async stop(): Promise<void> {
    const { sandbox } = this.#context;
    await Promise.all([...this.#running].map((callId) => sandbox.kill(callId)));
    this.#running.clear();
  }

  /** Before the start: an attempt after this one, which may never come to the command, can then still end it. */
  async #note(callId: CallId): Promise<void> {
    if (this.#noted.includes(callId)) return;
    this.#noted.push(callId);
    await this.#context.noteIntent(JSON.stringify(this.#noted.slice(-COMMANDS_NOTED)));
  }
}

function checkedTimeout(timeoutMs: number = LIMITS.commandTimeoutMs.default): number {
  const { max } = LIMITS.commandTimeoutMs;
  if (Number.isInteger(timeoutMs) && timeoutMs >= 1 && timeoutMs <= max) return timeoutMs;
  throw new Error(`expected a timeoutMs from 1 to ${max}, got ${timeoutMs}`);
}

/** The same for the same command at the same place of the call, in every attempt; another command there is another one. */
function commandId(callId: CallId, place: number, command: string): CallId {
  const hash = createHash("sha256").update(command).digest("hex").slice(0, HASH_CHARACTERS);
  return `${callId}-${place}-${hash}`;
}

/** The ids of the commands that a call has noted to start. */
export function notedCommands(intent: string | undefined): CallId[] {
  if (intent === undefined) return [];
  return CallId.array().parse(JSON.parse(intent));
}

/** All that it printed, up to the bound and without secrets; undefined when the reading was ended before the command was. */
async function collect(
  events: AsyncIterable<CommandEvent>,
  redactor: Redactor,
): Promise<PluginCommandResult | undefined> {
  const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const bytes = { stdout: 0, stderr: 0 };
  for await (const event of events) {
    if (event.type === "ended") {
      return { stdout: text(kept.stdout, redactor), stderr: text(kept.stderr, redactor), ...endOf(event.end) };
    }
    if (bytes[event.stream] < LIMITS.toolOutputBytesMax) kept[event.stream].push(event.bytes);
    bytes[event.stream] += event.bytes.length;
  }
  return undefined;
}

function text(chunks: readonly Uint8Array[], redactor: Redactor): string {
  const bytes = Buffer.concat(chunks);
  const head = headOf(bytes, LIMITS.toolOutputBytesMax);
  return decode(redactor.bytes(head, { end: head.length < bytes.length }));
}

function endOf(end: CommandEnd): Pick<PluginCommandResult, "exitCode" | "ended"> {
  return { exitCode: end.ended === "exited" ? end.exitCode : null, ended: end.ended };
}
