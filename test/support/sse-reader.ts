/** A reader of one server-sent event stream, as a test wants it: frames as they come, and when it ended. */
import { createParser } from "eventsource-parser";

export interface Frame {
  readonly id: string | undefined;
  readonly event: string | undefined;
  readonly data: Record<string, unknown>;
}

export interface OpenStream extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  readonly frames: readonly Frame[];
  readonly comments: readonly string[];
  /** The `retry:` that came. */
  readonly retryMs: number | undefined;
  /** Resolves when the server has ended the stream cleanly; rejects when it was cut. */
  readonly ended: Promise<void>;
  /** Resolves with the n-th frame, counted from 1. */
  frame(n: number, deadlineMs?: number): Promise<Frame>;
}

export async function openStream(url: string, headers: Record<string, string> = {}): Promise<OpenStream> {
  const left = new AbortController();
  const response = await fetch(url, { headers: { accept: "text/event-stream", ...headers }, signal: left.signal });
  const frames: Frame[] = [];
  const comments: string[] = [];
  const wakes = new Set<() => void>();
  let retryMs: number | undefined;
  const parser = createParser({
    onEvent: ({ id, event, data }) => frames.push({ id, event, data: JSON.parse(data) as Record<string, unknown> }),
    onComment: (comment) => comments.push(comment),
    onRetry: (retry) => {
      retryMs = retry;
    },
  });
  const ended = pump(response, (text) => {
    parser.feed(text);
    for (const wake of wakes) wake();
  });
  ended.catch(() => undefined); // For tests that leave before the end.
  return {
    status: response.status,
    headers: response.headers,
    frames,
    comments,
    get retryMs() {
      return retryMs;
    },
    ended,
    frame: (n, deadlineMs = 5_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new Error(`frame ${n} did not come within ${deadlineMs} ms; there are ${frames.length}`)),
          deadlineMs,
        );
        const wake = (): void => {
          const frame = frames[n - 1];
          if (!frame) return;
          clearTimeout(timer);
          wakes.delete(wake);
          resolve(frame);
        };
        wakes.add(wake);
        wake();
      }),
    [Symbol.dispose]: () => left.abort(),
  };
}

async function pump(response: Response, feed: (text: string) => void): Promise<void> {
  if (!response.body) return;
  const decoder = new TextDecoder();
  for await (const chunk of response.body) feed(decoder.decode(chunk as Uint8Array, { stream: true }));
}
