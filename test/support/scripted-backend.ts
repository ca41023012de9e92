/**
 * A backend in this process that answers from the script in the conversation, as the model endpoint does: for tests that
 * need no provider. It keeps a state of its own, and fails when it does not get back what it gave.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type BackendEntry,
  BackendError,
  type StateChange,
  type StepInput,
  type StepOutput,
  type SteppedBackend,
  type StepSink,
} from "../../backends/backend.ts";
import { providerError } from "../../backends/openai/errors.ts";
import { TranscriptEncoder } from "../../backends/openai/transcript-encoder.ts";
import type { ReplyBlock } from "../../contract/blocks.ts";
import { newId } from "../../contract/ids.ts";
import { argumentsOf, breakOf, numbers, piecesOf } from "./model-replies.ts";
import { ScriptReader, type ScriptStep, stepAt } from "./model-script.ts";
import { asScriptBody, readConversation, type SeenConversation } from "./seen-conversation.ts";

export interface ScriptedBackendOptions {
  /** Undefined: each step fails with AUTH_REQUIRED. */
  readonly key: string | undefined;
  /** Default: every key is right. */
  readonly rightKey?: string;
  /** A file that each call is told in, one JSON line per JournalLine. */
  readonly journal?: string;
  /** What a provider that cannot be reached does. */
  readonly unreachable?: boolean;
}

/** What the model's side would have seen. */
export type JournalLine =
  | { readonly call: number; readonly key: string; readonly conversation: SeenConversation }
  | { readonly closedEarly: number; readonly at: number };

export const SCRIPTED: BackendEntry = {
  name: "scripted",
  title: "Answers from the script in the conversation",
  capabilities: {
    wires: [],
    thinking: true,
    images: true,
    files: false,
    parallelTools: true,
    structuredOutput: "asked",
    steering: true,
    resume: "state",
    settings: [],
  },
  defaultModel: (config) => config.model,
  create: async ({ config }) => createScriptedBackend({ key: config.openaiApiKey }),
};

export function createScriptedBackend(options: ScriptedBackendOptions): SteppedBackend {
  return new ScriptedBackend(options);
}

const MODEL = "scripted-model";
const PIECE = 12;

class ScriptedBackend implements SteppedBackend {
  readonly name = SCRIPTED.name;
  readonly keepsState = true;
  readonly #options: ScriptedBackendOptions;
  readonly #scripts = new ScriptReader();
  readonly #encoder = new TranscriptEncoder();
  readonly #failures = new Map<string, number>();
  #calls = 0;

  constructor(options: ScriptedBackendOptions) {
    this.#options = options;
  }

  async step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput> {
    if (signal.aborted) throw aborted();
    this.#refuseFiles(input);
    const state = stateAfter(input);
    const key = this.#reach();
    const conversation = this.#conversation(input);
    const call = this.#tell({ call: ++this.#calls, key, conversation });
    this.#admit(key);
    const step = this.#next(conversation);
    const performance = new Performance({ sink, signal, idleMs: input.agent.limits.modelIdleTimeoutMs });
    try {
      await performance.give(step);
    } catch (error) {
      if (performance.closedEarly) this.#tell({ closedEarly: call, at: Date.now() });
      throw error;
    }
    const used = numbers(step, { bytes: JSON.stringify(conversation).length });
    const usage = {
      inputTokens: used.in,
      outputTokens: used.out,
      cachedTokens: used.cached,
      reasoningTokens: used.thought,
    };
    const refusal = step.refusal === undefined ? {} : { refusal: step.refusal };
    if (!performance.blocks.some(({ type }) => type !== "thinking"))
      throw new BackendError("INVALID_RESPONSE", "the model's reply holds nothing", { retryable: true, usage });
    return { blocks: performance.blocks, usage, model: conversation.model, state, ...refusal };
  }

  async listModels(): Promise<readonly { readonly id: string }[]> {
    this.#admit(this.#reach());
    return [{ id: MODEL }];
  }

  async validate(): ReturnType<SteppedBackend["validate"]> {
    try {
      this.#admit(this.#reach());
      return { valid: true, errors: [] };
    } catch (error) {
      const { code, message } = error as BackendError;
      return { valid: false, errors: [{ code, message }] };
    }
  }

  #reach(): string {
    const { key, unreachable } = this.#options;
    if (key === undefined) throw new BackendError("AUTH_REQUIRED", "there is no key; set SCRIPTED_KEY");
    if (unreachable === true) throw new BackendError("NETWORK", "the provider of the script cannot be reached");
    return key;
  }

  #admit(key: string): void {
    const { rightKey = key } = this.#options;
    if (key !== rightKey) throw providerError({ status: 401, message: `incorrect key provided: ${key}` }, context(key));
  }

  #refuseFiles({ transcript }: StepInput): void {
    const file = transcript.flatMap(({ blocks }) => blocks).find((block) => block.type === "file");
    if (file === undefined) return;
    throw new BackendError("INVALID_INPUT", `the file ${file.filename} cannot be shown to this model; send its text`);
  }

  /** As it would be read from the Responses wire. */
  #conversation({ agent, transcript, tools }: StepInput): SeenConversation {
    // Thoughts are given back to those alone who thought them, and this one keeps none.
    const shown = transcript.map((message) => ({
      ...message,
      blocks: message.blocks.filter((block) => block.type !== "thinking"),
    }));
    const items = Buffer.from(this.#encoder.encode(shown, "responses")).toString("utf8");
    const input: unknown = JSON.parse(`[${items}]`);
    const seen = readConversation("/responses", { model: agent.model ?? MODEL, input, tools });
    const schema = agent.outputSchema;
    const asked = schema === undefined ? [] : [`Answer with JSON that matches this schema: ${JSON.stringify(schema)}`];
    return { ...seen, system: [...(agent.instructions === undefined ? [] : [agent.instructions]), ...asked] };
  }

  #next(conversation: SeenConversation): ScriptStep {
    const place = this.#scripts.place(asScriptBody(conversation), undefined);
    const step = stepAt(place.steps ?? [], place.turn) ?? { text: "script finished" };
    if (step.fails === undefined) return step;
    const key = `${place.turn} ${place.key}`;
    const failed = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failed + 1);
    return failed < step.fails.times ? step.fails : step;
  }

  #tell(line: JournalLine): number {
    if (this.#options.journal !== undefined) appendFileSync(this.#options.journal, `${JSON.stringify(line)}\n`);
    return this.#calls;
  }
}

interface Stage {
  readonly sink: StepSink;
  readonly signal: AbortSignal;
  readonly idleMs: number;
}

/** One scripted step, played to a sink. */
class Performance {
  readonly blocks: ReplyBlock[] = [];
  /** Whether it was the backend that ended it, and not the model's side. */
  closedEarly = false;
  readonly #stage: Stage;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async give(step: ScriptStep): Promise<void> {
    await this.#pause(step.waitMs ?? 0);
    if (step.status !== undefined) throw refusalOf(step, step.status);
    if (step.think !== undefined) await this.#stream({ type: "thinking", text: step.think }, step.think, step);
    const text = `${step.text ?? ""}${step.refusal ?? ""}`;
    if (text !== "") await this.#stream({ type: "text", text }, text, step);
    await this.#breakOff(step);
    for (const tool of step.tools ?? []) {
      const written = argumentsOf(tool);
      const callId = newId("call");
      await this.#stream(
        { type: "tool_call", callId, name: tool.name, arguments: readArguments(written) },
        written,
        step,
      );
    }
  }

  async #stream(block: ReplyBlock, text: string, step: ScriptStep): Promise<void> {
    const { sink } = this.#stage;
    const index = this.blocks.length;
    const call = block.type === "tool_call" ? { callId: block.callId, name: block.name } : {};
    sink.blockStarted(index, { type: block.type, ...call });
    for (const piece of piecesOf(text, PIECE)) {
      sink.blockDelta(index, piece);
      await this.#pause(step.gapMs ?? 0);
    }
    if (block.type === "text" && breakOf(step) !== undefined) return;
    sink.blockCompleted(index, block);
    this.blocks.push(block);
  }

  async #breakOff(step: ScriptStep): Promise<void> {
    if (breakOf(step) === "STALL") await this.#pause(Number.POSITIVE_INFINITY);
    if (breakOf(step) !== undefined) throw new BackendError("NETWORK", "the script's stream ended before its reply");
    const failed = step.errorEvent ?? step.failed;
    if (failed !== undefined)
      throw providerError({ code: failed.code ?? undefined, message: failed.message }, context());
    if (step.incomplete !== undefined)
      throw new BackendError("INVALID_RESPONSE", "the script's reply was cut at its limit");
  }

  async #pause(ms: number): Promise<void> {
    const { signal, idleMs } = this.#stage;
    try {
      if (ms > 0) await sleep(Math.min(ms, idleMs), undefined, { signal });
    } catch {
      this.closedEarly = true;
      throw aborted();
    }
    if (ms < idleMs) return;
    this.closedEarly = true;
    throw new BackendError("TIMEOUT", `nothing came from the script for ${idleMs} ms`);
  }
}

/**
 * A line per message that this backend was shown: gone on from when the transcript still begins so, else begun anew.
 * A text that is not the one its `meta` belongs to is a fault of whoever kept them, and fails the step for good.
 */
function stateAfter({ transcript, state }: StepInput): StateChange {
  const shown = transcript.map(({ role, blocks }) => `${role} ${JSON.stringify(blocks).length}\n`);
  const meta = { messages: shown.length };
  if (state === undefined) return { replace: shown.join(""), meta };
  const known = state.text.split("\n").length - 1;
  if ((state.meta as typeof meta | null)?.messages !== known) {
    throw new Error(`the state's text has ${known} lines, and its meta is ${JSON.stringify(state.meta)}`);
  }
  const text = shown.join("");
  return text.startsWith(state.text) ? { append: text.slice(state.text.length), meta } : { replace: text, meta };
}

function refusalOf(step: ScriptStep, status: number): BackendError {
  const headers = new Headers(step.headers);
  return providerError({ status, message: step.text ?? "scripted error", headers }, context());
}

function readArguments(written: string): Record<string, unknown> | string {
  if (written === "") return {};
  try {
    return JSON.parse(written) as Record<string, unknown>;
  } catch {
    return written;
  }
}

function context(apiKey?: string): Parameters<typeof providerError>[1] {
  return { model: MODEL, origin: "the script", apiKey };
}

function aborted(): BackendError {
  return new BackendError("ABORTED", "the model call was stopped");
}
