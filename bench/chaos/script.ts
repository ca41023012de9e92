/** What a session is told to do, and what must be left of it: its messages, its commands, its artifacts. */
import type { AgentInput } from "../../contract/agents.ts";
import type { ScriptStep } from "../../test/support/model-endpoint.ts";

export interface ScriptedMessage {
  readonly id: string;
  readonly content: string;
}

export type Act =
  /** Posted one after another without waiting for their turns; all of them complete. */
  | { readonly type: "messages"; readonly mode: "queue" | "steer"; readonly messages: readonly ScriptedMessage[] }
  /** Interrupted once its command prints. */
  | { readonly type: "interrupt"; readonly message: EndlessMessage }
  /** Replaced by the next one once its command prints. */
  | { readonly type: "replace"; readonly message: EndlessMessage; readonly next: ScriptedMessage }
  /** Interrupted in the middle of an answer that never ends. */
  | { readonly type: "cut"; readonly message: ScriptedMessage }
  /** Joined by another one while its command waits. */
  | { readonly type: "steer"; readonly message: GatedMessage; readonly joining: ScriptedMessage }
  /** While its command waits, another one is posted and taken back. */
  | {
      readonly type: "remove";
      readonly message: GatedMessage;
      readonly removed: ScriptedMessage;
      readonly mode: "queue" | "steer";
    }
  /** Asks a person about some of its calls, who decides in this order. */
  | { readonly type: "decide"; readonly message: ScriptedMessage; readonly decisions: readonly ScriptedDecision[] }
  /** Interrupted while a person is asked about the call with this label, which never runs. */
  | { readonly type: "abandon"; readonly message: ScriptedMessage; readonly label: string };

export type ActOf<Type extends Act["type"]> = Extract<Act, { readonly type: Type }>;

/** Its turn ends only when it is stopped. */
export interface EndlessMessage extends ScriptedMessage {
  /** Stands in the command line of what it runs, and nowhere else. */
  readonly mark: string;
}

/** Its command prints, and then waits until this file is there. */
export interface GatedMessage extends ScriptedMessage {
  readonly gate: string;
}

export interface ScriptedDecision {
  /** Of the command that is asked about. */
  readonly label: string;
  readonly body: {
    readonly decision: "approve" | "deny";
    readonly reason?: string;
    readonly arguments?: { readonly command: string };
  };
  /** What the same person does a moment later. */
  readonly then: "nothing" | "repeat" | "contradict";
}

/** A command, known by a label that no other has. */
export interface ScriptedCommand {
  readonly label: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ScriptedArtifact {
  readonly path: string;
  readonly content: string;
}

export interface SessionScript {
  readonly token: string;
  readonly agent: AgentInput;
  readonly acts: readonly Act[];
  /** Those that must run, each once. What is denied or abandoned is not among them. */
  readonly commands: readonly ScriptedCommand[];
  readonly artifacts: readonly ScriptedArtifact[];
}

export interface ScriptPlace {
  /** Two scripts of one seed differ in nothing but token and file. */
  readonly seed: number;
  /** The session's id, in every command and file of it; always as long, so that nothing else depends on it. */
  readonly token: string;
  /** Where each command leaves its label when it starts. */
  readonly effectsFile: string;
  readonly backend: string;
  /** Most acts of a session, and most kinds of work in a turn. */
  readonly size: ScriptSize;
}

export interface ScriptSize {
  readonly acts: number;
  readonly works: number;
}

export type ScriptedCall = NonNullable<ScriptStep["tools"]>[number];

/** Commands that begin so ask a person first. */
export const ASKS = ": ask";

/** Of a session that asks about some of its commands, and allows all else. */
export const ASKING_POLICY = {
  default: "allow",
  rules: [
    { tool: "bash", arguments: { command: `${ASKS} *` }, action: "ask", reason: "chaos wants to be asked" },
    // Its commands hold loops, which the default would ask about.
    { tool: "bash", arguments: { command: "*" }, action: "allow" },
  ],
} as const satisfies AgentInput["policy"];

export function messagesOf(act: Act): readonly ScriptedMessage[] {
  switch (act.type) {
    case "messages":
      return act.messages;
    case "replace":
      return [act.message, act.next];
    case "steer":
      return [act.message, act.joining];
    case "remove":
      return [act.message, act.removed];
    default:
      return [act.message];
  }
}
