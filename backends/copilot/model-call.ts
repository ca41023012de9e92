/**
 * The one model call of a step, on its way from the runtime to the provider and back.
 *
 * The reply is read here, from the provider's own stream: with its own order of blocks, its arguments as they were
 * written, and its errors in its own words, none of which the runtime hands on. What the runtime gets besides is for its
 * log alone. A call that failed is shown to it as one that is not worth a retry, and it gets no second one.
 */

import { wellFormedJson } from "../../contract/cut-text.ts";
import { BackendError, type StepInput, type StepOutput, type StepSink } from "../backend.ts";
import { errorIn, watched } from "../openai/answer.ts";
import { ChatReader } from "../openai/chat-stream.ts";
import type { Send } from "../openai/connection.ts";
import { type ErrorContext, toBackendError } from "../openai/errors.ts";
import { ResponsesReader } from "../openai/responses-stream.ts";
import { ServerSentReader } from "../server-sent.ts";
import { SilenceGuard } from "../silence.ts";
import { AnthropicReader } from "./anthropic-stream.ts";
import { type Wire, wireOf } from "./connection.ts";
import { shapeRequest } from "./request.ts";

export interface ModelCallParts {
  readonly input: StepInput;
  readonly sink: StepSink;
  readonly context: ErrorContext;
  readonly send: Send;
  readonly isGithub: boolean;
  /** Puts the key in. */
  authorize(headers: Headers): void;
}

export class ModelCall {
  readonly #parts: ModelCallParts;
  readonly #reply = Promise.withResolvers<StepOutput>();
  readonly #started = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  #isTaken = false;
  #isEnded = false;

  constructor(parts: ModelCallParts) {
    this.#parts = parts;
    // Whoever waits is told; a call that nobody waits for any more may fail in silence.
    this.#reply.promise.catch(() => undefined);
  }

  get isStarted(): boolean {
    return this.#isTaken;
  }

  /** Resolves when the runtime has made its request. */
  get started(): Promise<void> {
    return this.#started.promise;
  }

  /** The whole reply. Rejects with what the sink threw, or a BackendError. */
  get reply(): Promise<StepOutput> {
    return this.#reply.promise;
  }

  /** Closes the connection to the provider, if there is one. */
  stop(reason: BackendError): void {
    this.#fail(reason);
    this.#stop.abort();
  }

  /** Never rejects: what went wrong is told to who waits for the reply. */
  async answer(request: Request): Promise<Response> {
    const wire = wireOf(new URL(request.url));
    // A runtime that asks again has answered something by itself: this step has its reply, or has failed.
    if (this.#isTaken || this.#isEnded || wire === undefined) return refusal();
    this.#isTaken = true;
    this.#started.resolve();
    try {
      return await this.#forward(request, wire);
    } catch (error) {
      this.#fail(error);
      return refusal();
    }
  }

  async #forward(request: Request, wire: Wire): Promise<Response> {
    const { input, context, send, isGithub } = this.#parts;
    const raw = (await request.json()) as Record<string, unknown>;
    const body = Buffer.from(wellFormedJson(shapeRequest(raw, { input, wire, isGithub })));
    const headers = new Headers(request.headers);
    for (const name of ["content-length", "accept-encoding", "host", "connection"]) headers.delete(name);
    this.#parts.authorize(headers);
    const silence = new SilenceGuard(input.agent.limits.modelIdleTimeoutMs);
    const signal = AbortSignal.any([this.#stop.signal, silence.signal]);
    try {
      const answer = await send(new URL(request.url), { method: "POST", headers, signal }, [body]);
      const response = watched(answer, { context, heard: (bytes) => silence.heard(bytes) });
      if (!response.ok) throw await errorIn(response, context);
      return this.#pass(response, wire, silence);
    } catch (error) {
      silence[Symbol.dispose]();
      throw silence.broken ? silence.error(context.origin) : error;
    }
  }

  /** Reads at the provider's pace; the runtime gets the same bytes at its own. */
  #pass(response: Response, wire: Wire, silence: SilenceGuard): Response {
    const waiting: Uint8Array[] = [];
    let wake = (): void => undefined;
    let isOver = false;
    const over = this.#read(response, {
      wire,
      silence,
      take: (bytes) => {
        waiting.push(bytes);
        wake();
      },
    }).finally(() => {
      isOver = true;
      wake();
    });
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        if (waiting.length === 0 && !isOver)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        if (waiting.length > 0) controller.enqueue(Buffer.concat(waiting.splice(0)));
        else controller.close();
      },
      cancel: () => this.stop(new BackendError("NETWORK", "the runtime has closed the model's stream")),
    });
    void over;
    const { status, headers } = response;
    return new Response(body, { status, headers });
  }

  async #read(response: Response, io: Reading): Promise<void> {
    const { sink, context } = this.#parts;
    const reader = readerOf(io.wire, sink, context);
    const events = new ServerSentReader();
    using silence = io.silence;
    try {
      for await (const bytes of response.body ?? []) {
        for (const event of events.read(bytes)) {
          silence.eventRead();
          reader.read(event);
        }
        if (events.isInside) silence.eventGrew();
        const failure = reader.failure();
        // What a reply that was cut has cost comes behind the reason.
        if (failure !== undefined && failure.usage === undefined) throw failure;
        io.take(bytes);
      }
      for (const event of events.end()) reader.read(event);
      if (events.isDone) reader.end();
      this.#isEnded = true;
      this.#reply.resolve(reader.finish());
    } catch (error) {
      if (reader.sinkFailure !== undefined) this.#failWith(reader.sinkFailure.error);
      else if (silence.broken) this.#fail(silence.error(context.origin));
      else this.#fail(reader.failure() ?? error);
      this.#stop.abort();
    }
  }

  #fail(error: unknown): void {
    this.#failWith(toBackendError(error, this.#parts.context));
  }

  #failWith(error: unknown): void {
    this.#isEnded = true;
    this.#reply.reject(error);
  }
}

interface Reading {
  readonly wire: Wire;
  readonly silence: SilenceGuard;
  take(bytes: Uint8Array): void;
}

type Reader = ResponsesReader | ChatReader | AnthropicReader;

function readerOf(wire: Wire, sink: StepSink, context: ErrorContext): Reader {
  if (wire === "responses") return new ResponsesReader(sink, context);
  return wire === "chat_completions" ? new ChatReader(sink, context) : new AnthropicReader(sink, context);
}

/** A status that the runtime does not try again. */
function refusal(): Response {
  return Response.json({ error: { message: "this model call is over" } }, { status: 400 });
}
