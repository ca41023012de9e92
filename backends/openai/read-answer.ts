/**
 * Reads the events of an answer as they come from the provider. The SDK, which fails on much that can be read and keeps to
 * itself what it does not know, is given an answer that holds nothing but its end.
 */
import { ServerSentReader } from "../server-sent.ts";
import type { SilenceGuard } from "../silence.ts";
import type { Wire } from "./items.ts";
import type { ReplyReader } from "./reply.ts";

const USAGE = { input_tokens: 0, output_tokens: 0, total_tokens: 0 };
const ENDS: Readonly<Record<Wire, readonly object[]>> = {
  chat_completions: [
    {
      id: "read",
      object: "chat.completion.chunk",
      created: 0,
      model: "read",
      choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: "stop" }],
    },
  ],
  responses: [
    {
      type: "response.completed",
      sequence_number: 0,
      response: {
        id: "read",
        object: "response",
        created_at: 0,
        status: "completed",
        model: "read",
        output: [],
        usage: USAGE,
      },
    },
  ],
};

export interface AnswerReading {
  readonly wire: Wire;
  readonly reader: ReplyReader;
  readonly silence: SilenceGuard;
}

/** The answer as the SDK gets it. An answer that is an error is left as it is. What the reader throws ends it. */
export function readAnswer(response: Response, { wire, reader, silence }: AnswerReading): Response {
  if (!response.ok || response.body === null) return response;
  const events = new ServerSentReader();
  const take = (event: object): void => {
    silence.eventRead();
    reader.read(event);
  };
  const end = ENDS[wire].map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  const stream = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      for (const event of events.read(bytes)) take(event);
      if (events.isInside) silence.eventGrew();
      const failure = reader.failure();
      // What a reply that was cut has cost comes behind the reason.
      if (failure !== undefined && failure.usage === undefined) throw failure;
      if (!events.isDone) return;
      // Some servers keep the connection open behind it.
      reader.end();
      controller.enqueue(Buffer.from(`${end}data: [DONE]\n\n`));
      controller.terminate();
    },
    flush(controller) {
      for (const event of events.end()) take(event);
      if (events.isDone) reader.end();
      controller.enqueue(Buffer.from(`${end}data: [DONE]\n\n`));
    },
  });
  const { status, headers } = response;
  return new Response(response.body.pipeThrough(stream), { status, headers });
}
