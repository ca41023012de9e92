/** One attempt of one step in the runtime: the state in, one model call, the reply and the new state out. */

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { SessionEvent } from "@github/copilot-sdk";
import type { ReplyBlock, ToolCallBlock } from "../../contract/blocks.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BackendError, type StateChange, type StepInput, type StepOutput } from "../backend.ts";
import type { Continuation, StateMeta } from "./continuation.ts";
import type { ModelCall } from "./model-call.ts";
import type { Runtime } from "./runtime.ts";
import { RuntimeFailure } from "./runtime-failure.ts";
import type { RuntimeSession, Standing } from "./runtime-session.ts";

export interface AttemptParts {
  readonly input: StepInput;
  /** What must be the same for its state to be gone on from. */
  readonly setup: string;
  readonly from: Continuation;
  /** Open, or being opened, at what the step goes on from. This attempt's alone. */
  readonly session: RuntimeSession;
  /** The session has stayed open since the step before. */
  readonly isLive: boolean;
  readonly call: ModelCall;
  readonly signal: AbortSignal;
  /** What the runtime may take before the model call and after it. */
  readonly silenceMs: number;
}

export class Attempt {
  readonly #runtime: Runtime;
  readonly #parts: AttemptParts;
  readonly #requests = new Map<string, string>();
  #standing: Standing | undefined;
  #isIdle = false;
  #error: string | undefined;
  #look = (): void => undefined;
  /** Rejects when the runtime has ended or failed. This attempt's own, so that nothing of it outlives it. */
  readonly #trouble = Promise.withResolvers<never>();

  constructor(runtime: Runtime, parts: AttemptParts) {
    this.#runtime = runtime;
    this.#parts = parts;
    this.#trouble.promise.catch(() => undefined);
  }

  /**
   * Throws BackendError, RuntimeFailure, or what the sink threw.
   * @param release Called when the runtime has let go of this attempt, which may be after the reply.
   */
  async run(release: () => void): Promise<StepOutput> {
    const { call, session, signal } = this.#parts;
    const onAbort = (): void => call.stop(new BackendError("ABORTED", "the model call was stopped"));
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    // A lost runtime ends the model call too; a reply that is already whole is not touched by it.
    using _lost = this.#runtime.onLost((error) => {
      this.#trouble.reject(error);
      call.stop(error);
    });
    this.#runtime.serve(session, { call, listener: (event) => this.#onEvent(event) });
    try {
      await this.#ask();
      const reply = await call.reply;
      const state = await this.#stateAfter(reply);
      if (signal.aborted) throw new BackendError("ABORTED", "the model call was stopped");
      this.#leave(release, this.#error === undefined ? this.#standing : undefined);
      return state === undefined ? reply : { ...reply, state };
    } catch (error) {
      this.#leave(release, undefined);
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
      call.stop(new BackendError("ABORTED", "the step is over"));
    }
  }

  /** Leaves the session open for the step that begins with the state, if there is one. Nobody has to wait until it is closed. */
  #leave(release: () => void, standing: Standing | undefined): void {
    const { session, input } = this.#parts;
    if (standing === undefined) {
      void this.#runtime.close(session).finally(release);
    } else {
      this.#runtime.rest(session, { sessionId: input.sessionId, standing });
      release();
    }
  }

  /** Has the runtime make its request. Whatever ends the call on the way ends this, with the same error. */
  async #ask(): Promise<void> {
    const { call, isLive } = this.#parts;
    const asked = this.#deliver().catch(async (error: unknown) => {
      // The pipe breaks a moment before the process is known to have ended, which is then told instead.
      await sleep(LIMITS.killWaitMs);
      throw new RuntimeFailure(error);
    });
    const work = Promise.race([asked, call.reply, this.#trouble.promise]);
    await (isLive ? this.#orResume(work) : this.#withinTime(work));
  }

  async #deliver(): Promise<void> {
    const { from, call } = this.#parts;
    const session = await this.#parts.session.opened;
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
    const { input, setup, from, session } = this.#parts;
    const calls = reply.blocks.filter((block) => block.type === "tool_call");
    if (!this.#isUnderstood(reply, calls)) return undefined;
    const isAtBoundary = (): boolean =>
      calls.length === 0 ? this.#isIdle : calls.every(({ providerCallId = "" }) => this.#requests.has(providerCallId));
    try {
      await this.#withinTime(Promise.race([this.#until(isAtBoundary), this.#trouble.promise]));
      await this.#withinTime(Promise.race([this.#runtime.save(session), this.#trouble.promise]));
    } catch {
      // The reply is whole and paid for, and the transcript holds all of it that matters.
      return undefined;
    }
    session.log.freeze();
    const pending = calls.map(({ callId, providerCallId = "" }) => {
      return { callId, requestId: this.#requests.get(providerCallId) ?? "" };
    });
    const mark = randomUUID();
    const meta: StateMeta = { covered: input.transcript.length, pending, setup, mark };
    const change = session.log.takeChange();
    this.#standing =
      "append" in change
        ? { mark, length: from.text.length + change.append.length, tail: change.append }
        : { mark, length: change.replace.length, tail: change.replace };
    return { ...change, meta };
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
    // An open session may still have been about to tell that it was idle after the step before.
    if (event.type === "session.idle" && this.#parts.call.isStarted) this.#isIdle = true;
    if (event.type === "session.error") {
      this.#error = event.data.message;
      // Of what goes wrong with the request itself the call knows more.
      if (!this.#parts.call.isStarted) this.#trouble.reject(new RuntimeFailure(event.data.message));
    }
    this.#look();
  }

  /** An open session that does not get to its request is no reason to end the runtime: its state can be resumed instead. */
  async #orResume(work: Promise<unknown>): Promise<void> {
    const { call, silenceMs } = this.#parts;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => {
        if (!call.isStarted) late.reject(new RuntimeFailure("it does not go on with a session that it kept open"));
      },
      Math.min(silenceMs, LIMITS.copilotLiveSilenceMs),
    );
    try {
      await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
    }
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
}

function isSaid(block: ReplyBlock): boolean {
  return block.type === "tool_call" || (block.type === "text" && block.text !== "");
}
