/** What a tool is. To add a built-in one: a file here, a line in registry.ts, its name in contract/agents.ts. */
import type { z } from "zod";
import type { ToolOutcome } from "../contract/blocks.ts";
import type { CallId, SessionId } from "../contract/ids.ts";
import type { Sandbox, SpoolOffsets } from "../sandbox/provider.ts";
import type { Redactor } from "./redactor.ts";

/**
 * What happens when a tool was started and its result was never committed:
 * `safe`: run again, the effect is the same. `keyed`: run again with the same call id, and the tool itself sees what it has done.
 * `ask`: a person is asked whether it may be run again.
 */
export type ReplayRule = "safe" | "keyed" | "ask";

/** How a policy's pattern is matched with an argument; one that is not named is plain text. */
export type ArgumentKind = "command" | "path";

export interface Tool<Schema extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** For the model. */
  readonly description: string;
  readonly parameters: Schema;
  /** The JSON schema of the parameters, where zod is not its source. */
  readonly jsonSchema?: Readonly<Record<string, unknown>>;
  /** The JSON schema that checks arguments in place of `parameters`, where that may take long: on a thread. */
  readonly hardSchema?: Readonly<Record<string, unknown>>;
  readonly replay: ReplayRule;
  /** Done in a few milliseconds without a command: may run as a local activity, which has no heartbeat. */
  readonly quick: boolean;
  /** What it has begun goes on without it, and another attempt finds it: an attempt may be ended after a moment for another. */
  readonly canBeLeft?: boolean;
  /** Whether it may leave new or changed files, artifacts among them. */
  readonly changesFiles: boolean;
  /** Whether it does more than look: a policy that says nothing of it asks first. */
  readonly changesWorld: boolean;
  /** It is never run without a person's approval, unless a policy's rule allows it. */
  readonly needsApproval?: boolean;
  readonly argumentKinds?: Readonly<Record<string, ArgumentKind>>;
  /** `question`: it is not run, a person answers it. */
  readonly answeredBy?: "person";
  /** The commands that a call has started besides one of its own id, by what it has noted: a stop ends them, too. */
  startedCommands?(intent: string | undefined): readonly CallId[];
  /** A line for Temporal's UI, such as "bash: npm test". */
  summary(args: z.output<Schema>): string;
  /** Never throws for what a model can do wrong: that is an `error` result, in words the model can act on. */
  run(args: z.output<Schema>, context: ToolContext): Promise<ToolResult>;
}

export interface ToolContext {
  readonly sessionId: SessionId;
  readonly callId: CallId;
  /** The agent's variables, for the commands that the tool starts. */
  readonly environment: Readonly<Record<string, string>>;
  /** Default: none. */
  readonly secrets?: CallSecrets;
  readonly sandbox: Sandbox;
  /** Aborted when the turn is interrupted; the tool then ends what it started and returns `interrupted`. */
  readonly signal: AbortSignal;
  /**
   * Asked after an abort: false means that only this attempt ends (its worker goes down, another attempt took over). The tool
   * then leaves what it started alone, for the next attempt to re-attach to, and throws the signal's reason.
   */
  readonly isStopped: () => boolean;
  /** 1 for the first run of this call, more after a lost attempt. */
  readonly attempt: number;
  /** How far earlier attempts have already published this call's output. */
  readonly published: SpoolOffsets;
  /** Publishes output as events; `upTo` is committed with them, and is the next attempt's `published`. Coalesced by the caller. */
  output(stream: "stdout" | "stderr", text: string, upTo: SpoolOffsets): void;
  /** What an earlier attempt noted before its effect; undefined in the first. */
  readonly intent: string | undefined;
  /** Commits a note before an effect, so that the next attempt can tell whether the effect happened. Under 4 KiB. */
  noteIntent(note: string): Promise<void>;
}

/** The secrets that the agent names, as far as one call is concerned. */
export interface CallSecrets {
  /** Takes every secret of this worker out of what is shown. The result's text is redacted for every tool; cuts are the tool's. */
  readonly redactor: Redactor;
  /** What a command line gets of them. */
  givenTo(command: string): GivenSecrets;
}

export interface GivenSecrets {
  readonly variables: Readonly<Record<string, string>>;
  /** Names that the command would have got, and that have no value on this worker. */
  readonly missing: readonly string[];
}

export interface ToolResult {
  readonly outcome: Extract<ToolOutcome, "ok" | "error" | "interrupted" | "unknown">;
  /** As the model is shown it; at most LIMITS.toolResultBytes, cut with words that say what and how to see the rest. */
  readonly text: string;
}
