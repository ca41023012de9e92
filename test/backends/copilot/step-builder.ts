/** What every test of a copilot step needs: the backend at a scripted endpoint, and what a session commits between its steps. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { BackendState, StepInput, StepOutput, SteppedBackend } from "../../../backends/backend.ts";
import { createCopilotBackend } from "../../../backends/copilot/backend.ts";
import type { Platform } from "../../../backends/copilot/platform.ts";
import type { ReplyBlock, ToolOutcome, TranscriptMessage } from "../../../contract/blocks.ts";
import type { CopilotProvider } from "../../../contract/config.ts";
import { type ModelEndpoint, startModelEndpoint } from "../../support/model-endpoint.ts";
import { anInput, type InputParts, Memory } from "../openai/step-builder.ts";

export const WIRES = ["responses", "completions"] as const;
export type Wire = CopilotProvider["wireApi"];

export const KEY = "sk-copilot-0123456789abcdef";

export interface CopilotWorld extends AsyncDisposable {
  readonly model: ModelEndpoint;
  readonly backend: SteppedBackend;
  readonly scratchDir: string;
  readonly warnings: readonly string[];
  /** The process ids of the runtimes that this backend keeps. */
  runtimePids(): Promise<readonly number[]>;
  /** A second worker at the same model, with a runtime and a scratch folder of its own. */
  anotherWorker(): Promise<CopilotWorld>;
}

export interface WorldParts {
  readonly wire?: Wire;
  readonly model?: ModelEndpoint;
  readonly platform?: Platform;
  readonly silenceMs?: number;
  readonly liveSessionsMax?: number;
}

export async function startCopilotWorld(parts: WorldParts = {}): Promise<CopilotWorld> {
  const { wire = "responses" } = parts;
  const model = parts.model ?? (await startModelEndpoint());
  const scratchDir = await mkdtemp(path.join(tmpdir(), "perdure-copilot-"));
  const warnings: string[] = [];
  const backend = createCopilotBackend({
    githubToken: undefined,
    provider: { baseUrl: model.url, apiKey: KEY, wireApi: wire },
    defaultModel: "scripted-model",
    scratchDir,
    warn: (_fields, message) => void warnings.push(message),
    ...(parts.platform === undefined ? {} : { platform: parts.platform }),
    ...(parts.silenceMs === undefined ? {} : { silenceMs: parts.silenceMs }),
    ...(parts.liveSessionsMax === undefined ? {} : { liveSessionsMax: parts.liveSessionsMax }),
  });
  return {
    ...{ model, backend, scratchDir, warnings },
    runtimePids: () => runtimesIn(scratchDir),
    anotherWorker: () => startCopilotWorld({ ...parts, model }),
    [Symbol.asyncDispose]: async () => {
      await backend[Symbol.asyncDispose]?.();
      if (parts.model === undefined) await model.close();
      await rm(scratchDir, { recursive: true, force: true });
    },
  };
}

/** The backend as another process makes it. */
export function backendAt(at: { readonly url: string; readonly scratchDir: string }): SteppedBackend {
  return createCopilotBackend({
    githubToken: undefined,
    provider: { baseUrl: at.url, apiKey: KEY, wireApi: "responses" },
    defaultModel: "scripted-model",
    scratchDir: at.scratchDir,
    warn: () => undefined,
  });
}

/** Children of this process whose home is in the folder. */
async function runtimesIn(folder: string): Promise<readonly number[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, "utf8");
  const pids = children
    .split(" ")
    .filter((pid) => pid !== "")
    .map(Number);
  const homes = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, "utf8").catch(() => "")));
  return pids.filter((_, i) => homes[i]?.includes(folder));
}

/** A session between its steps: what the store would hold of it. */
export class Conversation {
  transcript: TranscriptMessage[] = [];
  state: BackendState | undefined;
  /** What each step did to the state. */
  readonly changes: StepOutput["state"][] = [];
  /** Of each step's input. */
  parts: InputParts & { readonly sessionId?: string };

  constructor(parts: Conversation["parts"] = {}) {
    this.parts = parts;
  }

  say(...messages: TranscriptMessage[]): this {
    this.transcript.push(...messages);
    return this;
  }

  input(): StepInput {
    // From JSON, as another process would read it.
    const { transcript, state } = structuredClone({ transcript: this.transcript, state: this.state });
    const { sessionId = "session-1" } = this.parts;
    return { ...anInput({ ...this.parts, transcript }), sessionId, state };
  }

  /** One step, committed. */
  async step({ backend }: Pick<CopilotWorld, "backend">, sink = new Memory()): Promise<StepOutput> {
    const output = await backend.step(this.input(), sink, new AbortController().signal);
    this.commit(output);
    return output;
  }

  commit({ blocks, state }: StepOutput): void {
    this.transcript.push({ role: "assistant", blocks: [...blocks] });
    this.changes.push(state);
    if (state === undefined) return;
    const text = (state.replace ?? this.state?.text ?? "") + (state.append ?? "");
    this.state = {
      text,
      meta: JSON.parse(JSON.stringify(state.meta)) as unknown,
      version: String(this.changes.length),
    };
  }

  /** Answers all calls of the newest reply. */
  answer(text = (name: string): string => `result of ${name}`, outcome: ToolOutcome = "ok"): this {
    const calls = callsOf(this.transcript.at(-1)?.blocks ?? []);
    const blocks = calls.map(({ callId, name, providerCallId }) => {
      const id = providerCallId === undefined ? {} : { providerCallId };
      return { type: "tool_result" as const, callId, name, outcome, text: text(name), ...id };
    });
    return this.say({ role: "tool", blocks });
  }
}

export function callsOf(blocks: Readonly<TranscriptMessage["blocks"]>): Extract<ReplyBlock, { type: "tool_call" }>[] {
  return blocks.filter((block) => block.type === "tool_call");
}

export function texts(output: StepOutput): string {
  return output.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
}
