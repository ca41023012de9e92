/** The backend that speaks OpenAI's wires through the models of `@openai/agents`: one model call per step, no state of its own. */
import type { Model } from "@openai/agents";
import type OpenAI from "openai";
import type { ModelInfo } from "../../contract/backends.ts";
import { wellFormedJson } from "../../contract/cut-text.ts";
import { LIMITS } from "../../contract/limits.ts";
import {
  BackendError,
  type StepInput,
  type StepOutput,
  type SteppedBackend,
  type StepSink,
  type ValidationResult,
} from "../backend.ts";
import { SilenceGuard } from "../silence.ts";
import { watched } from "./answer.ts";
import { ChatReader } from "./chat-stream.ts";
import { Concessions, refusesPictures, refusesReasoning } from "./concessions.ts";
import { createSend } from "./connection.ts";
import { type ErrorContext, toBackendError } from "./errors.ts";
import type { Wire } from "./items.ts";
import { readAnswer } from "./read-answer.ts";
import { modelRequest } from "./request.ts";
import { BodySplicer } from "./request-body.ts";
import { ResponsesReader } from "./responses-stream.ts";
import { loadSdk, type Sdk } from "./sdk.ts";
import { hasPicture, TranscriptEncoder } from "./transcript-encoder.ts";

export interface OpenAiBackendOptions {
  /** Without one the backend can be made, and each step fails with AUTH_REQUIRED. */
  readonly apiKey: string | undefined;
  /** Default: OpenAI's own. */
  readonly baseUrl?: string | undefined;
  /** For agents that name none. */
  readonly defaultModel: string;
}

const OPENAI_URL = "https://api.openai.com/v1";
const NO_KEY =
  "there is no key for the model provider; set OPENAI_API_KEY in the worker's environment and start it again";

/** Makes the backend at once; the SDK is loaded by the first step, or shortly after the start when nobody waits for it. */
export function createOpenAiBackend(options: OpenAiBackendOptions): SteppedBackend {
  return new OpenAiBackend(options);
}

class OpenAiBackend implements SteppedBackend {
  readonly name = "openai";
  readonly #options: OpenAiBackendOptions;
  #sdk: Promise<Sdk> | undefined;
  readonly #encoder = new TranscriptEncoder();
  readonly #splicer = new BodySplicer(createSend());
  readonly #concessions = new Concessions();
  #client: OpenAI | undefined;

  constructor(options: OpenAiBackendOptions) {
    this.#options = options;
    // A failure is told by each step that waits for it, not by an unhandled rejection.
    setTimeout(() => this.#load().catch(() => undefined), LIMITS.sdkLoadDelayMs).unref();
  }

  async step(input: StepInput, sink: StepSink, signal: AbortSignal): Promise<StepOutput> {
    const model = input.agent.model ?? this.#options.defaultModel;
    const context = this.#context(model);
    if (signal.aborted) throw aborted();
    const client = await this.#connect();
    // Bounded: each round leaves out one more of the few fields that may be refused.
    for (;;) {
      try {
        return await this.#call({ input, sink, signal, model, client, context });
      } catch (error) {
        const isWorthAnother =
          !(error instanceof BackendError) &&
          (this.#concessions.learn(model, error) || this.#canDoWithout(input, error));
        if (!isWorthAnother) throw error instanceof SinkFailure ? error.error : toBackendError(error, context);
      }
    }
  }

  async listModels(): Promise<readonly ModelInfo[]> {
    try {
      const client = await this.#connect();
      // As it was sent: the SDK's own reading takes a web page for an empty list.
      const { data } = await client.get<Listed>("/models", { timeout: LIMITS.modelListTimeoutMs });
      if (!Array.isArray(data)) throw this.#notAProvider("its answer is no list of models");
      const models = data as readonly { readonly id?: unknown }[];
      return models.slice(0, LIMITS.modelsListedMax).flatMap(({ id }) => (typeof id === "string" ? [{ id }] : []));
    } catch (error) {
      // Without a model in the request it cannot be the model that is missing.
      if ((error as { status?: unknown }).status === 404) throw this.#notAProvider("it has no list of models (404)");
      throw toBackendError(error, this.#context(this.#options.defaultModel));
    }
  }

  async validate(): Promise<ValidationResult> {
    try {
      await this.listModels();
      return { valid: true, errors: [] };
    } catch (error) {
      const { code, message } = toBackendError(error, this.#context(this.#options.defaultModel));
      return { valid: false, errors: [{ code, message }] };
    }
  }

  async #call({ input, sink, signal, model, client, context }: Call): Promise<StepOutput> {
    const { api } = input.agent.modelSettings;
    const wire: Wire = api ?? "responses";
    using silence = new SilenceGuard(input.agent.limits.modelIdleTimeoutMs);
    const reader = wire === "responses" ? new ResponsesReader(sink, context) : new ChatReader(sink, context);
    using conversation = this.#splicer.splice(this.#pieces(input, wire), (answer) => {
      const response = watched(answer, { context, heard: (bytes) => silence.heard(bytes) });
      return readAnswer(response, { wire, reader, silence });
    });
    const request = modelRequest({
      input,
      wire,
      marker: conversation.marker,
      leaveOut: this.#concessions.of(model),
      signal: AbortSignal.any([signal, silence.signal]),
    });
    const speaker = await this.#model(client, model, wire);
    try {
      // Until the answer is at its end: by then the reader has all of it.
      for await (const _ of speaker.getStreamedResponse(request));
    } catch (error) {
      if (reader.sinkFailure !== undefined) throw new SinkFailure(reader.sinkFailure.error);
      if (signal.aborted) throw aborted();
      if (silence.broken) throw silence.error(context.origin);
      throw reader.failure() ?? error;
    }
    // The SDK's stream ends without a word when it is aborted, so this must be asked.
    if (signal.aborted) throw aborted();
    if (silence.broken) throw silence.error(context.origin);
    return finished(reader);
  }

  /**
   * Whether something was refused that the conversation can do without: then it is worth another try. Of a picture that has just
   * come its sender is told; later requests go without it.
   */
  #canDoWithout({ agent, transcript }: StepInput, error: unknown): boolean {
    const wire = agent.modelSettings.api ?? "responses";
    if (refusesReasoning(error) && this.#encoder.leaveOut(transcript, wire, "reasoning")) return true;
    if (!refusesPictures(error) || !this.#encoder.leaveOut(transcript, wire, "pictures")) return false;
    const newest = transcript.at(-1);
    return newest === undefined || !hasPicture(newest);
  }

  #pieces({ agent, transcript }: StepInput, wire: Wire): readonly Uint8Array[] {
    const conversation = this.#encoder.encode(transcript, wire);
    if (wire === "responses" || agent.instructions === undefined) return [conversation];
    return [Buffer.from(wellFormedJson({ role: "system", content: agent.instructions })), conversation];
  }

  async #model(client: OpenAI, model: string, wire: Wire): Promise<Model> {
    const sdk = await this.#load();
    // The SDK declares its own copy of the client's type.
    const its = client as never;
    return wire === "responses"
      ? new sdk.OpenAIResponsesModel(its, model)
      : new sdk.OpenAIChatCompletionsModel(its, model);
  }

  #load(): Promise<Sdk> {
    this.#sdk ??= loadSdk();
    return this.#sdk;
  }

  async #connect(): Promise<OpenAI> {
    const { apiKey, baseUrl } = this.#options;
    if (apiKey === undefined || apiKey === "") throw new BackendError("AUTH_REQUIRED", NO_KEY);
    const sdk = await this.#load();
    this.#client ??= new sdk.OpenAI({
      apiKey,
      baseURL: baseUrl ?? OPENAI_URL,
      maxRetries: 0, // The activity's retries are the only ones.
      timeout: LIMITS.modelIdleTimeoutMs.max, // Each step has its own, shorter one.
      logLevel: "off",
      fetch: this.#splicer.fetch,
    });
    return this.#client;
  }

  #notAProvider(why: string): BackendError {
    const base = new URL(this.#options.baseUrl ?? OPENAI_URL);
    const message = `at ${base.origin}${base.pathname} there is no model provider: ${why}; check OPENAI_BASE_URL`;
    return new BackendError("PROVIDER_NOT_FOUND", message);
  }

  #context(model: string): ErrorContext {
    const origin = new URL(this.#options.baseUrl ?? OPENAI_URL).origin;
    return { model, origin, apiKey: this.#options.apiKey };
  }
}

interface Listed {
  readonly data?: unknown;
}

interface Call {
  readonly input: StepInput;
  readonly sink: StepSink;
  readonly signal: AbortSignal;
  readonly model: string;
  readonly client: OpenAI;
  readonly context: ErrorContext;
}

/** What the sink threw, on its way out: it goes to the caller as it is. */
class SinkFailure extends Error {
  readonly error: unknown;

  constructor(error: unknown) {
    super("the sink failed");
    this.error = error;
  }
}

function finished(reader: ResponsesReader | ChatReader): StepOutput {
  try {
    return reader.finish();
  } catch (error) {
    if (reader.sinkFailure !== undefined) throw new SinkFailure(reader.sinkFailure.error);
    throw error;
  }
}

function aborted(): BackendError {
  return new BackendError("ABORTED", "the model call was stopped");
}
