/** The backend that drives GitHub Copilot's runtime one step at a time: its whole state is a text that we keep. */
import type { ModelInfo } from "../../contract/backends.ts";
import type { CopilotProvider } from "../../contract/config.ts";
import { LIMITS } from "../../contract/limits.ts";
import {
  BackendError,
  type BackendOptions,
  type StepInput,
  type StepOutput,
  type SteppedBackend,
  type StepSink,
  type ValidationResult,
} from "../backend.ts";
import { createSend, type Send } from "../openai/connection.ts";
import { toBackendError } from "../openai/errors.ts";
import { Attempt } from "./attempt.ts";
import { authorize, errorContext, requireCredentials } from "./connection.ts";
import { type Continuation, keptContinuation, setupOf, writtenContinuation } from "./continuation.ts";
import { ModelCall } from "./model-call.ts";
import { listGithubModels, listProviderModels } from "./models.ts";
import { installedPlatform, type Platform } from "./platform.ts";
import { withoutOpaque, withoutOpaqueOutput } from "./reply.ts";
import { RuntimeFailure, withoutRuntimeFailure } from "./runtime-failure.ts";
import { RuntimePool } from "./runtime-pool.ts";
import { RuntimeSession } from "./runtime-session.ts";
import { stepConfig } from "./session-config.ts";

export interface CopilotBackendOptions {
  readonly githubToken: string | undefined;
  /** Instead of GitHub's models. */
  readonly provider: CopilotProvider | undefined;
  /** For agents that name none. */
  readonly defaultModel: string;
  readonly scratchDir: string;
  readonly warn: BackendOptions["warn"];
  /** Default: what is installed. */
  readonly platform?: Platform;
  /** Default: LIMITS.copilotSilenceMs. */
  readonly silenceMs?: number;
  /** Sessions of the runtime that stay open between two steps. Default: LIMITS.copilotLiveSessions; 0: each step resumes its state. */
  readonly liveSessionsMax?: number;
}

/** Makes the backend at once; the runtime is started by the first step. */
export function createCopilotBackend(options: CopilotBackendOptions): SteppedBackend {
  return new CopilotBackend(options);
}

class CopilotBackend implements SteppedBackend {
  readonly name = "copilot";
  readonly keepsState = true;
  readonly #options: CopilotBackendOptions;
  readonly #platform: Platform;
  readonly #runtimes: RuntimePool;
  readonly #send: Send = createSend();

  constructor(options: CopilotBackendOptions) {
    this.#options = options;
    this.#platform = options.platform ?? installedPlatform();
    const { scratchDir, warn, provider, liveSessionsMax } = options;
    // With a provider of one's own, no token of GitHub's goes anywhere near the runtime.
    const githubToken = provider === undefined ? options.githubToken : undefined;
    this.#runtimes = new RuntimePool({ platform: this.#platform, scratchDir, githubToken, liveSessionsMax, warn });
  }

  async step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput> {
    if (signal.aborted) throw new BackendError("ABORTED", "the model call was stopped");
    requireCredentials(this.#options);
    const model = input.agent.model ?? this.#options.defaultModel;
    const setup = setupOf(input, { model, wire: this.#options.provider?.wireApi ?? "github" });
    const kept = keptContinuation(input, setup);
    const io = { input, sink, signal, model, setup };
    try {
      if (kept !== undefined) return await this.#attempt({ ...io, from: kept, mayBeLive: true });
    } catch (error) {
      if (!(error instanceof RuntimeFailure)) throw error;
      // Perhaps another version of the runtime has written it. The model was not asked yet.
      const fields = { sessionId: input.sessionId, reason: error.message };
      this.#options.warn(fields, "the copilot runtime cannot go on from its state; it begins anew");
    }
    try {
      return await this.#attempt({ ...io, from: writtenContinuation(input, model), mayBeLive: false });
    } catch (error) {
      throw withoutRuntimeFailure(error);
    }
  }

  async listModels(): Promise<readonly ModelInfo[]> {
    const { provider, defaultModel } = this.#options;
    const context = errorContext(this.#options, defaultModel);
    try {
      requireCredentials(this.#options);
      if (provider !== undefined) return await listProviderModels(provider, { send: this.#send, context });
      using lease = await this.#runtimes.take();
      return await listGithubModels(lease.runtime);
    } catch (error) {
      throw toBackendError(withoutRuntimeFailure(error), context);
    }
  }

  async validate(): Promise<ValidationResult> {
    try {
      requireCredentials(this.#options);
      this.#platform.runtimePath();
      await this.listModels();
      return { valid: true, errors: [] };
    } catch (error) {
      const { code, message } = toBackendError(error, errorContext(this.#options, this.#options.defaultModel));
      return { valid: false, errors: [{ code, message }] };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#runtimes.stop();
  }

  async #attempt(io: AttemptIo): Promise<StepOutput> {
    const { input, sink, signal, model, setup, from } = io;
    const { provider, silenceMs = LIMITS.copilotSilenceMs } = this.#options;
    const config = stepConfig(input, { model, provider });
    const call = this.#modelCall(input, withoutOpaque(sink), model);
    const lease = await this.#runtimes.take();
    const { runtime } = lease;
    const made = JSON.stringify(config);
    const live = runtime.live.take(input.sessionId, { setup: made, state: io.mayBeLive ? input.state : undefined });
    const session = live ?? new RuntimeSession({ text: from.text, isKept: from.isKept, setup: made });
    if (live === undefined) runtime.open(session, config);
    const parts = { input, setup, from, session, isLive: live !== undefined, call, signal, silenceMs };
    try {
      return withoutOpaqueOutput(await new Attempt(runtime, parts).run(() => lease[Symbol.dispose]()));
    } catch (error) {
      if (live === undefined || !(error instanceof RuntimeFailure)) throw error;
      this.#options.warn({ sessionId: input.sessionId, reason: error.message }, GIVEN_UP);
    }
    return await this.#attempt({ ...io, mayBeLive: false });
  }

  #modelCall(input: StepInput, sink: StepSink, model: string): ModelCall {
    const { provider } = this.#options;
    return new ModelCall({
      input,
      sink,
      context: errorContext(this.#options, model),
      send: this.#send,
      isGithub: provider === undefined,
      authorize: (headers) => {
        // GitHub's runtime exchanges its token for one of a model call by itself.
        if (provider !== undefined) authorize(headers, provider);
      },
    });
  }
}

interface AttemptIo {
  readonly input: StepInput;
  readonly sink: StepSink;
  readonly signal: AbortSignal;
  readonly model: string;
  readonly setup: string;
  readonly from: Continuation;
  /** Whether a session that stayed open may be gone on with. */
  readonly mayBeLive: boolean;
}

const GIVEN_UP = "the copilot runtime cannot go on with a session that it kept open; it resumes the session's state";
