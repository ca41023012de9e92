/** What every test of a step needs: a backend at a scripted endpoint, an input, and a sink that remembers. */
import type { StepInput, StepOutput, SteppedBackend, StepSink } from "../../../backends/backend.ts";
import { BackendError } from "../../../backends/backend.ts";
import { createOpenAiBackend } from "../../../backends/openai/backend.ts";
import { Agent, type AgentInput } from "../../../contract/agents.ts";
import type { ReplyBlock, TranscriptMessage } from "../../../contract/blocks.ts";
import { type ModelEndpoint, type ScriptStep, startModelEndpoint } from "../../support/model-endpoint.ts";

export const WIRES = ["responses", "chat_completions"] as const;
export type Wire = (typeof WIRES)[number];

export const KEY = "sk-test-0123456789abcdef";

export interface World extends AsyncDisposable {
  readonly model: ModelEndpoint;
  readonly backend: SteppedBackend;
}

export async function startWorld(): Promise<World> {
  const model = await startModelEndpoint();
  const backend = createOpenAiBackend({ apiKey: KEY, baseUrl: model.url, defaultModel: "scripted-model" });
  return { model, backend, [Symbol.asyncDispose]: () => model.close() };
}

export interface InputParts {
  readonly wire?: Wire;
  readonly agent?: AgentInput;
  readonly transcript?: readonly TranscriptMessage[];
  readonly tools?: StepInput["tools"];
}

export function anInput({ wire, agent, transcript, tools }: InputParts = {}): StepInput {
  const modelSettings = { ...agent?.modelSettings, ...(wire === undefined ? {} : { api: wire }) };
  return {
    sessionId: "session-1",
    agent: Agent.parse({ ...agent, modelSettings }),
    transcript: transcript ?? [says("hello")],
    tools: tools ?? [{ name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }],
  };
}

export function says(text: string): TranscriptMessage {
  return { role: "user", blocks: [{ type: "text", text }] };
}

/** A user's message with a script in it. */
export function scripted(...steps: ScriptStep[]): TranscriptMessage {
  return says(`go @@SCRIPT${JSON.stringify(steps)}@@`);
}

export class Memory implements StepSink {
  /** As `start 0 text`, `delta 0 …`, `end 0`. */
  readonly lines: string[] = [];
  readonly blocks: ReplyBlock[] = [];

  blockStarted(index: number, block: { readonly type: string; readonly name?: string }): void {
    this.lines.push(`start ${index} ${block.type}${block.name === undefined ? "" : ` ${block.name}`}`);
  }

  blockDelta(index: number, text: string): void {
    this.lines.push(`delta ${index} ${text}`);
  }

  blockCompleted(index: number, block: ReplyBlock): void {
    this.lines.push(`end ${index}`);
    this.blocks[index] = block;
  }

  /** All that was streamed of one block. */
  streamed(index: number): string {
    const prefix = `delta ${index} `;
    return this.lines
      .filter((line) => line.startsWith(prefix))
      .map((line) => line.slice(prefix.length))
      .join("");
  }
}

export function run(world: World, input: StepInput, sink: StepSink = new Memory()): Promise<StepOutput> {
  return world.backend.step(input, sink, new AbortController().signal);
}

/** The BackendError that a step ends with; anything else is a failure of the test. */
export async function failureOf(step: Promise<unknown>): Promise<BackendError> {
  const outcome = await step.then(
    (value) => new Error(`expected a failure, found ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  if (outcome instanceof BackendError) return outcome;
  throw outcome;
}

/** The newest request's body. */
export function lastBody(world: World): Record<string, unknown> {
  return world.model.requests.at(-1)?.body as Record<string, unknown>;
}
