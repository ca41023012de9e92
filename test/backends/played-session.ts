/** Plays the worker's part around a backend: keeps a session's transcript and the backend's state, and places results. */
import { randomUUID } from "node:crypto";
import type { BackendState, StepInput, StepOutput, StepSink, ToolDeclaration } from "../../backends/backend.ts";
import { Agent, type AgentInput } from "../../contract/agents.ts";
import type { InputBlock, ReplyBlock, ToolCallBlock, ToolOutcome, TranscriptMessage } from "../../contract/blocks.ts";
import type { ScriptStep } from "../support/model-script.ts";

/** The provider's key of every test. It may be nowhere but in a request's header. */
export const KEY = "sk-conformance-0123456789abcdef";

/** One step, here or in another process. */
export type RunStep = (input: StepInput, sink: StepSink, signal: AbortSignal) => Promise<StepOutput>;

export const LOOK: ToolDeclaration = {
  name: "look",
  description: "Looks at a place.",
  parameters: { type: "object", properties: { at: { type: "string" } } },
};

/** A user's text with a script in it. */
export function scripted(...steps: readonly ScriptStep[]): string {
  return `go @@SCRIPT${JSON.stringify(steps)}@@`;
}

export interface Answer {
  readonly outcome?: ToolOutcome;
  readonly text: string;
}

export class PlayedSession {
  readonly id = `session-${randomUUID()}`;
  readonly transcript: TranscriptMessage[] = [];
  /** What the newest step committed of the backend's own. */
  state: BackendState | undefined;
  agent: Agent;
  readonly #tools: readonly ToolDeclaration[];
  #version = 0;

  constructor(agent: AgentInput, tools: readonly ToolDeclaration[] = [LOOK]) {
    this.agent = Agent.parse(agent);
    this.#tools = tools;
  }

  get input(): StepInput {
    return {
      sessionId: this.id,
      agent: this.agent,
      transcript: [...this.transcript],
      tools: this.#tools,
      state: this.state,
    };
  }

  /** The calls of the newest reply. */
  get calls(): readonly ToolCallBlock[] {
    const reply = this.transcript.findLast((message) => message.role === "assistant");
    return (reply?.blocks ?? []).filter((block) => block.type === "tool_call");
  }

  say(content: string | readonly InputBlock[]): void {
    this.place({
      role: "user",
      blocks: typeof content === "string" ? [{ type: "text", text: content }] : [...content],
    });
  }

  /** Puts a message at the transcript's end. It must stay as it is: whoever changes it fails. */
  place(message: TranscriptMessage): void {
    this.transcript.push(deeplyFrozen(message));
  }

  /** One step, committed as a worker would: through JSON, as the store keeps it. A failed one leaves nothing. */
  async step(run: RunStep, sink = new CheckedSink(), signal = new AbortController().signal): Promise<StepOutput> {
    const output = asStored(await run(this.input, sink, signal));
    sink.check(output);
    if (JSON.stringify(output).includes(KEY)) throw new Error("the step's output holds the provider's key");
    if (output.blocks.length > 0) this.place({ role: "assistant", blocks: [...output.blocks] });
    this.#commit(output.state);
    return output;
  }

  /** Gives each call of the newest reply its result, in the calls' order, each in a message of its own as the store does. */
  answer(result: (call: ToolCallBlock) => Answer = () => ({ text: "seen" })): void {
    for (const call of this.calls) {
      const { outcome = "ok", text } = result(call);
      const { callId, name, providerCallId } = call;
      const own = providerCallId === undefined ? {} : { providerCallId };
      this.place({ role: "tool", blocks: [{ type: "tool_result", callId, ...own, name, outcome, text }] });
    }
  }

  /** A user's message and all steps up to the answer without calls. */
  async turn(run: RunStep, content: string, result?: (call: ToolCallBlock) => Answer): Promise<StepOutput> {
    this.say(content);
    for (let steps = 0; steps < TURN_STEPS_MAX; steps++) {
      const output = await this.step(run);
      if (!output.blocks.some((block) => block.type === "tool_call")) return output;
      this.answer(result);
    }
    throw new Error(`the turn did not end within ${TURN_STEPS_MAX} steps`);
  }

  #commit(change: StepOutput["state"]): void {
    if (change === undefined) return;
    const { append, replace, meta } = change;
    if (append !== undefined && replace !== undefined) throw new Error("a state both goes on and begins anew");
    this.state = { text: (replace ?? this.state?.text ?? "") + (append ?? ""), meta, version: `${++this.#version}` };
  }
}

const TURN_STEPS_MAX = 100;

/** A sink that holds a backend to the order of its calls: started, deltas, completed, without a gap in the indexes. */
export class CheckedSink implements StepSink {
  /** What was streamed, by index. */
  readonly streamed: string[] = [];
  readonly deltas: string[] = [];
  readonly #started: (ReplyBlock["type"] | undefined)[] = [];
  readonly #completed: ReplyBlock[] = [];
  readonly #onDelta: () => void;

  constructor(onDelta: () => void = () => undefined) {
    this.#onDelta = onDelta;
  }

  blockStarted(index: number, block: { readonly type: ReplyBlock["type"] }): void {
    if (index !== this.#started.length) throw new Error(`block ${index} started after ${this.#started.length} blocks`);
    this.#started.push(block.type);
    this.streamed.push("");
  }

  blockDelta(index: number, text: string): void {
    if (this.#started[index] === undefined) throw new Error(`block ${index} grew before it started`);
    if (this.#completed[index] !== undefined) throw new Error(`block ${index} grew after its end`);
    this.streamed[index] += text;
    this.deltas.push(text);
    this.#onDelta();
  }

  blockCompleted(index: number, block: ReplyBlock): void {
    if (this.#started[index] !== block.type) throw new Error(`block ${index} ended as ${block.type}`);
    if (this.#completed[index] !== undefined) throw new Error(`block ${index} ended twice`);
    this.#completed[index] = block;
  }

  /** Throws unless the output is what was told here. */
  check({ blocks, usage }: StepOutput): void {
    const told = JSON.stringify(asStored(this.#completed));
    if (JSON.stringify(blocks) !== told) throw new Error(`expected ${told}, found ${JSON.stringify(blocks)}`);
    for (const [index, block] of blocks.entries()) {
      const isStreamed = block.type === "tool_call" || this.streamed[index] === block.text;
      if (!isStreamed) throw new Error(`expected block ${index} as it was streamed: ${this.streamed[index]}`);
    }
    for (const count of Object.values(usage)) if (!Number.isInteger(count) || count < 0) throw new Error("bad usage");
  }
}

function asStored<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

function deeplyFrozen<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) deeplyFrozen(inner);
  return Object.freeze(value);
}
