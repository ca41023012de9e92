/** One attempt of one step in the runtime: the state in, one model call, the reply and the new state out. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { CopilotSession, SessionEvent } from "@github/copilot-sdk";
import type { ReplyBlock, ToolCallBlock } from "../../contract/blocks.ts";
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError, type StateChange, type StepInput, type StepOutput } from "../backend.ts";
import { runtimeProvider } from "./connection.ts";
import type { Continuation, StateMeta } from "./continuation.ts";
import type { ModelCall } from "./model-call.ts";
import type { OpenSession, Runtime } from "./runtime.ts";
import { RuntimeFailure } from "./runtime-failure.ts";
import { SessionLog } from "./session-log.ts";

export interface AttemptParts {
  readonly input: StepInput;
  readonly model: string;
  readonly provider: CopilotProvider | undefined;
  readonly setup: string;
  readonly from: Continuation;
  readonly call: ModelCall;
  readonly signal: AbortSignal;
  /** What the runtime may take before the model call and after it. */
  readonly silenceMs: number;
}

export class Attempt {
  readonly #runtime: Runtime;
  readonly #parts: AttemptParts;
  readonly #id = randomUUID();
  readonly #log: SessionLog;
  readonly #requests = new Map<string, string>();
  #isIdle = false;
  #error: string | undefined;
  #look = (): void => undefined;
  /** Rejects when the runtime has ended or failed. This attempt's own, so that nothing of it outlives it. */
  readonly #trouble = Promise.withResolvers<never>();

  constructor(runtime: Runtime, parts: AttemptParts) {
    this.#runtime = runtime;
    this.#parts = parts;
    this.#trouble.promise.catch(() => undefined);
    this.#log = new SessionLog(parts.from.text, { id: this.#id, isKept: parts.from.isKept });
  }

  /**
   * Throws BackendError, RuntimeFailure, or what the sink threw.
   * @param release Called when the runtime has let go of this attempt, which may be after the reply.
   */
  async run(release: () => void): Promise<StepOutput> {
    const { call, signal } = this.#parts;
    const opening = this.#runtime.open(this.#session());
    opening.catch(() => undefined);
    const onAbort = (): void => call.stop(new BackendError("ABORTED", "the model call was stopped"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    // A lost runtime ends the model call too; a reply that is already whole is not touched by it.
    using _lost = this.#runtime.onLost((error) => {
      this.#trouble.reject(error);
      call.stop(error);
    });
    try {
      await this.#ask(opening);
      const reply = await call.reply;
      const state = await this.#stateAfter(reply);
      if (signal.aborted) throw new BackendError("ABORTED", "the model call was stopped");
      return state === undefined ? reply : { ...reply, state };
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#log.freeze();
      call.stop(new BackendError("ABORTED", "the step is over"));
      // The id is this attempt's own, so nobody has to wait until the runtime has closed it.
      void this.#runtime.close(this.#id, opening).finally(release);
    }
  }

  /** Has the runtime make its request. Whatever ends the call on the way ends this, with the same error. */
  async #ask(opening: Promise<CopilotSession>): Promise<void> {
    const { call } = this.#parts;
    const asked = this.#deliver(opening).catch(async (error: unknown) => {
      // The pipe breaks a moment before the process is known to have ended, which is then told instead.
      await sleep(LIMITS.killWaitMs);
      throw new RuntimeFailure(error);
    });
    await this.#withinTime(Promise.race([asked, call.reply, this.#trouble.promise]));
  }

  async #deliver(opening: Promise<CopilotSession>): Promise<void> {
    const { from, call } = this.#parts;
    const session = await opening;
    // Before the results: with the last of them the runtime asks the model.
    for (const prompt of from.steering) await session.send({ prompt, mode: "immediate" });
    for (const { requestId, result } of from.results) {
      const { success } = await session.rpc.tools.handlePendingToolCall({ requestId, result });
      if (!success) throw new Error("the runtime does not know a call that its state holds");
    }
    const messages = from.prompts.map((prompt) => ({ prompt }));
    if (from.results.length === 0) await session.rpc.sendMessages({ messages });
    await call.started;
  }

  /** Undefined when the runtime cannot go on from here: the next step then begins anew from the transcript. */
  async #stateAfter(reply: StepOutput): Promise<StateChange | undefined> {
    const calls = reply.blocks.filter((block) => block.type === "tool_call");
    if (!this.#isUnderstood(reply, calls)) return undefined;
    const isAtBoundary = (): boolean =>
      calls.length === 0 ? this.#isIdle : calls.every(({ providerCallId = "" }) => this.#requests.has(providerCallId));
    try {
      await this.#withinTime(Promise.race([this.#until(isAtBoundary), this.#trouble.promise]));
      await this.#withinTime(Promise.race([this.#runtime.save(this.#id), this.#trouble.promise]));
    } catch {
      // The reply is whole and paid for, and the transcript holds all of it that matters.
      return undefined;
    }
    this.#log.freeze();
    const pending = calls.map(({ callId, providerCallId = "" }) => {
      return { callId, requestId: this.#requests.get(providerCallId) ?? "" };
    });
    const { input, setup } = this.#parts;
    const meta: StateMeta = { covered: input.transcript.length, pending, setup };
    return { ...this.#log.change(), meta };
  }

  /**
   * Whether the runtime will hand on each of these calls, and nothing else. It answers calls of unknown tools and those
   * with broken arguments by itself, and asks the model again when a reply is empty.
   */
  #isUnderstood(reply: StepOutput, calls: readonly ToolCallBlock[]): boolean {
    if (reply.refusal !== undefined || !reply.blocks.some(isSaid)) return false;
    const names = new Set(this.#parts.input.tools.map(({ name }) => name));
    return calls.every(
      (call) => names.has(call.name) && typeof call.arguments === "object" && call.providerCallId !== undefined,
    );
  }

  #until(condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        if (condition()) resolve();
        else if (this.#error !== undefined) reject(new Error(this.#error));
      };
      this.#look();
    });
  }

  #onEvent(event: SessionEvent): void {
    if (event.type === "external_tool.requested") this.#requests.set(event.data.toolCallId, event.data.requestId);
    if (event.type === "session.idle") this.#isIdle = true;
    if (event.type === "session.error") {
      this.#error = event.data.message;
      // Of what goes wrong with the request itself the call knows more.
      if (!this.#parts.call.isStarted) this.#trouble.reject(new RuntimeFailure(event.data.message));
    }
    this.#look();
  }

  /** The runtime's own work takes milliseconds; one that hangs is ended, so that the step can be tried with another. */
  async #withinTime<T>(work: Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#runtime.kill(), this.#parts.silenceMs);
    try {
      return await work;
    } finally {
      clearTimeout(timer);
    }
  }

  #session(): OpenSession {
    const { input, model, provider, call } = this.#parts;
    const { reasoningEffort } = input.agent.modelSettings;
    return {
      id: this.#id,
      log: this.#log,
      call,
      onEvent: (event) => this.#onEvent(event),
      config: {
        model,
        streaming: true,
        // Without a handler a call is only announced, and its result waited for.
        tools: input.tools.map(({ name, description, parameters }) => ({
          ...{ name, description, parameters, skipPermission: true },
          ...{ overridesBuiltInTool: true, defer: "never" as const },
        })),
        availableTools: ["custom:*"],
        systemMessage: { mode: "replace", content: instructionsOf(input) },
        ...(provider === undefined ? {} : { provider: ownProvider(provider) }),
        ...(isEffort(reasoningEffort) ? { reasoningEffort } : {}),
        // All that the runtime would do beyond the one model call.
        largeOutput: { enabled: false },
        toolSearch: { enabled: false },
        infiniteSessions: { enabled: false },
        enableSkills: false,
        enableSessionStore: false,
      },
    };
  }
}

/** Those that the runtime knows; the others are put into the request alone. */
function isEffort(effort: string | undefined): effort is "low" | "medium" | "high" | "xhigh" {
  return effort === "low" || effort === "medium" || effort === "high" || effort === "xhigh";
}

function ownProvider(provider: CopilotProvider): ReturnType<typeof runtimeProvider> & { maxPromptTokens: number } {
  return { ...runtimeProvider(provider), maxPromptTokens: LIMITS.copilotPromptTokensMax };
}

/** The schema is in the request too, on the wires that have a field for it. Here it is for the one that has none. */
function instructionsOf({ agent }: StepInput): string {
  const { instructions = "", outputSchema } = agent;
  if (outputSchema === undefined) return instructions;
  const asked = `Your final answer must be JSON that matches this JSON schema, and nothing else:\n${JSON.stringify(outputSchema)}`;
  return instructions === "" ? asked : `${instructions}\n\n${asked}`;
}

function isSaid(block: ReplyBlock): boolean {
  return block.type === "tool_call" || (block.type === "text" && block.text !== "");
}
