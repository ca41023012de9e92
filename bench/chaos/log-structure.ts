/**
 * What an event log says, without what may differ between two runs of one script: ids, times, how text was cut into
 * deltas, and what `step.restarted` made void. It also notes everything that comes in an order in which it must not.
 */
import type { SessionEvent, SessionEventOf } from "../../contract/events.ts";
import type { Usage } from "../../contract/usage.ts";
import { type CallEvent, CallLog, type CallStructure } from "./call-log.ts";

export interface LogStructure {
  readonly session: readonly string[];
  readonly turns: readonly TurnStructure[];
  /** What no log may hold, whatever was killed. */
  readonly faults: readonly string[];
}

export interface TurnStructure {
  readonly message: string;
  end: string;
  output: string;
  readonly steps: StepStructure[];
  readonly artifacts: string[];
  /** Messages that joined it, each with the step. */
  readonly joined: string[];
}

interface StepStructure {
  blocks: { type: string; text: string; open: boolean }[];
  readonly calls: CallStructure[];
  /** Its reply came to its end. */
  isWhole: boolean;
}

/** Of a session whose token is replaced by a word, so that structures of several sessions can be compared. */
export function structureOf(events: readonly SessionEvent[], token: string): LogStructure {
  const reader = new LogReader(token);
  for (const event of events) reader.read(event);
  return reader.end();
}

interface OpenTurn {
  readonly turnId: string;
  readonly structure: TurnStructure;
  readonly calls: CallLog;
  step: StepStructure | undefined;
  stepIsOpen: boolean;
  usage: number;
}

class LogReader {
  readonly #token: string;
  readonly #session: string[] = [];
  readonly #turns: TurnStructure[] = [];
  readonly #faults: string[] = [];
  /** What became of each message: each is begun or taken back once. */
  readonly #messages = new Set<string>();
  #turn: OpenTurn | undefined;

  constructor(token: string) {
    this.#token = token;
  }

  read(event: SessionEvent): void {
    switch (event.type) {
      case "session.created":
      case "session.closed":
      case "sandbox.starting":
      case "sandbox.ready":
      case "sandbox.lost":
      case "sandbox.stopped":
      case "message.refused":
        this.#session.push(event.type);
        return;
      case "session.updated":
        this.#session.push(`updated ${event.agent} ${event.backend} ${event.model}`);
        return;
      case "message.received":
        this.#session.push(`received ${this.#plain(event.messageId)}`);
        return;
      case "message.removed":
        this.#session.push(`removed ${this.#plain(event.messageId)}`);
        this.#settle(event);
        return;
      // Whether a message had to wait, and whether a call failed before it succeeded, is for chance to say.
      case "message.queued":
      case "error":
        return;
      // When a snapshot is made, and what a look at the workspace sees between two calls, is for chance to say, too.
      case "sandbox.snapshotted":
      case "workspace.unkept":
      case "sandbox.replaced":
      case "network.decided":
      case "file.changed":
      case "terminal.opened":
      case "terminal.closed":
      case "command.started":
      case "command.output":
      case "command.completed":
        return;
      case "turn.started":
        this.#startTurn(event);
        return;
      default:
        this.#note(event, this.#readInTurn(event));
    }
  }

  end(): LogStructure {
    if (this.#turn) this.#faults.push(`turn of ${this.#turn.structure.message} has no end`);
    return { session: this.#session.sort(), turns: this.#turns, faults: this.#faults };
  }

  #settle(event: SessionEventOf<"turn.started" | "message.steered" | "message.removed">): void {
    if (this.#messages.has(event.messageId)) this.#note(event, "its message was begun or taken back before");
    this.#messages.add(event.messageId);
  }

  #startTurn(event: SessionEventOf<"turn.started">): void {
    if (this.#turn) this.#note(event, "a turn starts inside another");
    this.#settle(event);
    const message = this.#plain(event.messageId);
    const structure = { message, end: "", output: "", steps: [], artifacts: [], joined: [] };
    this.#turns.push(structure);
    const calls = new CallLog((text) => this.#plain(text));
    this.#turn = { turnId: event.turnId, structure, calls, step: undefined, stepIsOpen: false, usage: 0 };
  }

  #readInTurn(event: Extract<SessionEvent, { turnId?: unknown }>): string | undefined {
    const turn = this.#turn;
    if (!turn || event.turnId !== turn.turnId) return "it is of no open turn";
    switch (event.type) {
      case "step.started":
      case "step.restarted":
      case "step.completed":
        return this.#readStep(turn, event);
      case "block.started":
      case "block.delta":
      case "block.completed":
        return this.#readBlock(turn, event);
      case "message.steered":
        this.#settle(event);
        turn.structure.joined.push(`${this.#plain(event.messageId)} at step ${event.step}`);
        return turn.stepIsOpen && event.step === turn.structure.steps.length ? undefined : "its step is not open";
      case "artifact.uploaded":
        turn.structure.artifacts.push(event.path);
        return undefined;
      case "turn.completed":
      case "turn.failed":
      case "turn.interrupted":
        this.#endTurn(turn, event);
        return undefined;
      default:
        return isOfCall(event) ? this.#readCall(turn, event) : undefined; // What is read elsewhere.
    }
  }

  #readStep(
    turn: OpenTurn,
    event: SessionEventOf<"step.started" | "step.restarted" | "step.completed">,
  ): string | undefined {
    if (event.type === "step.started") {
      if (turn.stepIsOpen || event.step !== turn.structure.steps.length + 1) this.#note(event, "not the next step");
      turn.step = { blocks: [], calls: [], isWhole: false };
      turn.structure.steps.push(turn.step);
      turn.stepIsOpen = true;
      return undefined;
    }
    if (!turn.step || !turn.stepIsOpen || event.step !== turn.structure.steps.length) {
      return "its step is not open";
    }
    if (event.type === "step.restarted") {
      turn.step.blocks = [];
      return undefined;
    }
    if (turn.step.blocks.some((block) => block.open)) this.#note(event, "a block of it has no end");
    turn.stepIsOpen = false;
    turn.step.isWhole = true;
    turn.usage += tokens(event.usage);
    return undefined;
  }

  #readBlock(
    turn: OpenTurn,
    event: SessionEventOf<"block.started" | "block.delta" | "block.completed">,
  ): string | undefined {
    const { step } = turn;
    if (!step || !turn.stepIsOpen) return "its step is not open";
    if (event.type === "block.started") {
      if (event.index !== step.blocks.length) this.#note(event, "not the next block");
      step.blocks.push({ type: event.block.type, text: "", open: true });
      return undefined;
    }
    const block = step.blocks[event.index];
    if (!block?.open) return "its block is not open";
    if (event.type === "block.delta") {
      block.text += event.text;
      return undefined;
    }
    block.open = false;
    const said = event.block.type === "tool_call" ? JSON.stringify(event.block.arguments) : event.block.text;
    const streamed = event.block.type === "tool_call" ? reprinted(block.text) : block.text;
    if (streamed !== said) this.#note(event, `its deltas say ${JSON.stringify(streamed.slice(0, 200))}`);
    block.text = this.#plain(said);
    return undefined;
  }

  #readCall(turn: OpenTurn, event: CallEvent): string | undefined {
    const fault = turn.calls.read(event, (call) => turn.step?.calls.push(call));
    return turn.stepIsOpen ? "its step is still open" : fault;
  }

  #endTurn(turn: OpenTurn, event: SessionEventOf<"turn.completed" | "turn.failed" | "turn.interrupted">): void {
    for (const fault of turn.calls.end(event.type)) this.#note(event, fault);
    if (tokens(event.usage) !== turn.usage) this.#note(event, `its steps used ${turn.usage} tokens`);
    const { structure } = turn;
    structure.end = event.type;
    if (event.type === "turn.completed") {
      structure.output = this.#plain(event.output);
      if (turn.stepIsOpen) this.#note(event, "its last step has no end");
    }
    if (event.type === "turn.interrupted") structure.end = `${event.type} ${event.reason}`;
    if (event.type === "turn.failed") structure.end = `${event.type} ${event.code} ${event.message}`;
    if (event.type === "turn.interrupted" && turn.stepIsOpen) this.#note(event, this.#faultOfCut(turn, event));
    structure.artifacts.sort();
    // Parallel calls begin in any order.
    for (const step of structure.steps) step.calls.sort((a, b) => (a.arguments < b.arguments ? -1 : 1));
    this.#turn = undefined;
  }

  /** What the agent had said of an answer that was cut off is kept: each text of it is ended, and they are the output. */
  #faultOfCut({ step }: OpenTurn, event: SessionEventOf<"turn.interrupted">): string | undefined {
    const texts = (step?.blocks ?? []).filter(({ type, text }) => type === "text" && text !== "");
    if (texts.some(({ open }) => open)) return "a text that was cut off has no end";
    if (texts.length === 0) return undefined;
    const kept = texts.map(({ text }) => text).join("\n");
    return this.#plain(event.output ?? "") === kept ? undefined : `its texts say ${JSON.stringify(kept.slice(-200))}`;
  }

  #plain(text: string): string {
    return text.replaceAll(this.#token, "TOKEN");
  }

  #note(event: SessionEvent, fault: string | undefined): void {
    if (fault !== undefined) this.#faults.push(`${fault}: ${JSON.stringify(event).slice(0, 400)}`);
  }
}

function isOfCall(event: SessionEvent): event is CallEvent {
  return "callId" in event;
}

function tokens(usage: Usage): number {
  return usage.inputTokens + usage.outputTokens;
}

/** Arguments as their deltas spelled them, in the spelling of JSON.stringify. */
function reprinted(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json === "" ? "{}" : json));
  } catch {
    return json;
  }
}
