/** The backend that drives GitHub Copilot's runtime one step at a time: its whole state is a text that we keep. */
import type { ModelInfo } from "../../contract/backends.ts";
import type { CopilotProvider } from "../../contract/config.ts";
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
import { continuationOf, setupOf } from "./continuation.ts";
import { ModelCall } from "./model-call.ts";
import { listGithubModels, listProviderModels } from "./models.ts";
import { installedPlatform, type Platform } from "./platform.ts";
import { withoutOpaque, withoutOpaqueOutput } from "./reply.ts";
import { RuntimePool } from "./runtime-pool.ts";

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
}

/** Makes the backend at once; the runtime is started by the first step. */
export function createCopilotBackend(options: CopilotBackendOptions): SteppedBackend {
  return new CopilotBackend(options);
}

class CopilotBackend implements SteppedBackend {
  readonly name = "copilot";
  readonly #options: CopilotBackendOptions;
  readonly #platform: Platform;
  readonly #runtimes: RuntimePool;
  readonly #send: Send = createSend();

  constructor(options: CopilotBackendOptions) {
    this.#options = options;
    this.#platform = options.platform ?? installedPlatform();
    const { scratchDir, warn, provider } = options;
    // With a provider of one's own, no token of GitHub's goes anywhere near the runtime.
    const githubToken = provider === undefined ? options.githubToken : undefined;
    this.#runtimes = new RuntimePool({ platform: this.#platform, scratchDir, githubToken, warn });
  }

  async step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput> {
    if (signal.aborted) throw new BackendError("ABORTED", "the model call was stopped");
    requireCredentials(this.#options);
    const { provider } = this.#options;
    const model = input.agent.model ?? this.#options.defaultModel;
    const setup = setupOf(input, { model, wire: provider?.wireApi ?? "github" });
    const from = continuationOf(input, setup, model);
    const call = this.#modelCall(input, withoutOpaque(sink), model);
    const lease = await this.#runtimes.take();
    const attempt = new Attempt(lease.runtime, { input, model, provider, setup, from, call, signal });
    return withoutOpaqueOutput(await attempt.run(() => lease[Symbol.dispose]()));
  }

  async listModels(): Promise<readonly ModelInfo[]> {
    const { provider, defaultModel } = this.#options;
    try {
      requireCredentials(this.#options);
      if (provider !== undefined) return await listProviderModels(provider, defaultModel);
      using lease = await this.#runtimes.take();
      return await listGithubModels(lease.runtime);
    } catch (error) {
      throw toBackendError(error, errorContext(this.#options, defaultModel));
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
