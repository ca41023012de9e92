/**
 * What an event log says, without what may differ between two runs of one script: ids, times, how text was cut into
 * deltas, and what `step.restarted` made void. It also notes everything that comes in an order in which it must not.
 */
import type { SessionEvent } from "../../contract/events.ts";
import type { Usage } from "../../contract/usage.ts";

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
}

interface StepStructure {
  blocks: { type: string; text: string; open: boolean }[];
  readonly calls: CallStructure[];
}

export interface CallStructure {
  readonly name: string;
  readonly arguments: string;
  stdout: string;
  stderr: string;
  outcome: string;
  result: string;
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
  readonly calls: Map<string, CallStructure>;
  step: StepStructure | undefined;
  stepIsOpen: boolean;
  usage: number;
}

class LogReader {
  readonly #token: string;
  readonly #session: string[] = [];
  readonly #turns: TurnStructure[] = [];
  readonly #faults: string[] = [];
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
      case "message.received":
        this.#session.push(`received ${this.#plain(event.messageId)}`);
        return;
      // Whether a message had to wait, and whether a call failed before it succeeded, is for chance to say.
      case "message.queued":
      case "error":
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

  #startTurn(event: Extract<SessionEvent, { type: "turn.started" }>): void {
    if (this.#turn) this.#note(event, "a turn starts inside another");
    const structure = { message: this.#plain(event.messageId), end: "", output: "", steps: [], artifacts: [] };
    this.#turns.push(structure);
    this.#turn = { turnId: event.turnId, structure, calls: new Map(), step: undefined, stepIsOpen: false, usage: 0 };
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
      case "tool.started":
      case "tool.output":
      case "tool.completed":
        return this.#readTool(turn, event);
      case "artifact.uploaded":
        turn.structure.artifacts.push(event.path);
        return undefined;
      case "turn.completed":
      case "turn.failed":
      case "turn.interrupted":
        return this.#endTurn(turn, event);
      default:
        return undefined; // What is read elsewhere.
    }
  }

  #readStep(
    turn: OpenTurn,
    event: Extract<SessionEvent, { type: "step.started" | "step.restarted" | "step.completed" }>,
  ): string | undefined {
    if (event.type === "step.started") {
      if (turn.stepIsOpen || event.step !== turn.structure.steps.length + 1) this.#note(event, "not the next step");
      turn.step = { blocks: [], calls: [] };
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
    turn.usage += tokens(event.usage);
    return undefined;
  }

  #readBlock(
    turn: OpenTurn,
    event: Extract<SessionEvent, { type: "block.started" | "block.delta" | "block.completed" }>,
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

  #readTool(
    turn: OpenTurn,
    event: Extract<SessionEvent, { type: "tool.started" | "tool.output" | "tool.completed" }>,
  ): string | undefined {
    const known = turn.calls.get(event.callId);
    if (event.type === "tool.started") {
      if (turn.stepIsOpen || known) return known ? "it starts twice" : "its step is still open";
      const args = this.#plain(JSON.stringify(event.arguments));
      const call = { name: event.name, arguments: args, stdout: "", stderr: "", outcome: "", result: "" };
      turn.calls.set(event.callId, call);
      turn.step?.calls.push(call);
      return undefined;
    }
    if (!known) return "its call never started";
    if (known.outcome !== "") return "its call is over";
    if (event.type === "tool.output") {
      known[event.stream] += this.#plain(event.text);
      return undefined;
    }
    known.outcome = event.outcome;
    known.result = this.#plain(event.result);
    return undefined;
  }

  #endTurn(
    turn: OpenTurn,
    event: Extract<SessionEvent, { type: "turn.completed" | "turn.failed" | "turn.interrupted" }>,
  ): string | undefined {
    for (const call of turn.calls.values()) if (call.outcome === "") this.#note(event, `${call.name} has no end`);
    if (tokens(event.usage) !== turn.usage) this.#note(event, `its steps used ${turn.usage} tokens`);
    const { structure } = turn;
    structure.end = event.type;
    if (event.type === "turn.completed") structure.output = this.#plain(event.output);
    if (event.type === "turn.interrupted") structure.end = `${event.type} ${event.reason}`;
    if (event.type === "turn.failed") structure.end = `${event.type} ${event.code} ${event.message}`;
    structure.artifacts.sort();
    // Parallel calls begin in any order.
    for (const step of structure.steps) step.calls.sort((a, b) => (a.arguments < b.arguments ? -1 : 1));
    this.#turn = undefined;
    return undefined;
  }

  #plain(text: string): string {
    return text.replaceAll(this.#token, "TOKEN");
  }

  #note(event: SessionEvent, fault: string | undefined): void {
    if (fault !== undefined) this.#faults.push(`${fault}: ${JSON.stringify(event).slice(0, 400)}`);
  }
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

/** Where two logs of one script differ, in words; nothing when they say the same. */
export function differences(expected: LogStructure, found: LogStructure): readonly string[] {
  const differing = compare(expected.session, found.session, "session");
  const turns = Math.max(expected.turns.length, found.turns.length);
  for (let i = 0; i < turns; i++) {
    differing.push(...compare(comparable(expected.turns[i]), comparable(found.turns[i]), `turn ${i + 1}`));
  }
  return differing;
}

/** How far a stopped command came, and the words about it, is for chance to say. */
function comparable(turn: TurnStructure | undefined): unknown {
  if (!turn) return undefined;
  const steps = turn.steps.map((step) => ({
    blocks: step.blocks.map(({ type, text }) => ({ type, text })),
    calls: step.calls.map((call) => (call.outcome === "interrupted" ? { ...call, stdout: "", result: "" } : call)),
  }));
  return { ...turn, steps };
}

function compare(expected: unknown, found: unknown, where: string): string[] {
  if (isContainer(expected) && isContainer(found)) {
    const keys = new Set([...Object.keys(expected), ...Object.keys(found)]);
    return [...keys].flatMap((key) => compare(expected[key], found[key], `${where}.${key}`));
  }
  if (expected === found) return [];
  return [`${where}: expected ${shown(expected)}, found ${shown(found)}`];
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 300 ? `${text.slice(0, 150)} … ${text.slice(-150)}` : text;
}
