/** Counters of this process, as Prometheus reads them. */
import type { RequestHandler } from "express";

export type StreamKind = "events" | "progress";

/** What is looked up when somebody asks. */
export interface Gauges {
  /** Undefined: the store did not give it. */
  readonly pendingApprovals: number | undefined;
  readonly held: { readonly streams: number; readonly answers: number; readonly bodies: number };
}

export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #streams: Record<StreamKind, number> = { events: 0, progress: 0 };
  readonly #startedAt = Date.now() / 1000;
  #eventsStreamed = 0;
  #slowReaders = 0;

  streamOpened(kind: StreamKind): void {
    this.#streams[kind]++;
  }

  streamClosed(kind: StreamKind): void {
    this.#streams[kind]--;
  }

  eventsStreamed(count: number): void {
    this.#eventsStreamed += count;
  }

  slowReaderDropped(): void {
    this.#slowReaders++;
  }

  /** Counts every answer by its method and status. */
  countRequests(): RequestHandler {
    return (request, response, next) => {
      response.once("close", () => {
        const labels = `method="${methodLabel(request.method)}",status="${response.statusCode}"`;
        this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
      });
      next();
    };
  }

  /** The text exposition format, 0.0.4. */
  render({ pendingApprovals, held }: Gauges): string {
    return [
      ...(pendingApprovals === undefined
        ? []
        : family("perdure_approvals_pending", "gauge", "Calls of all sessions that wait for an approval.", [
            ["", pendingApprovals],
          ])),
      ...family("perdure_api_requests_total", "counter", "Answered requests.", [...this.#requests]),
      ...family("perdure_api_streams_open", "gauge", "Open event streams.", [
        [`kind="events"`, this.#streams.events],
        [`kind="progress"`, this.#streams.progress],
      ]),
      ...family("perdure_api_events_streamed_total", "counter", "Events written to open streams.", [
        ["", this.#eventsStreamed],
      ]),
      ...family(
        "perdure_api_slow_readers_dropped_total",
        "counter",
        "Streams, sockets and answers ended because nobody read them.",
        [["", this.#slowReaders]],
      ),
      ...family("perdure_api_held_bytes", "gauge", "Bytes held for callers who send or read slowly.", [
        [`kind="streams"`, held.streams],
        [`kind="answers"`, held.answers],
        [`kind="bodies"`, held.bodies],
      ]),
      ...family("process_start_time_seconds", "gauge", "When this process began.", [["", this.#startedAt]]),
      ...family("process_resident_memory_bytes", "gauge", "Memory of this process.", [["", process.memoryUsage.rss()]]),
      "",
    ].join("\n");
  }
}

const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]);

/** A client may send any word as a method; labels must not grow with its fancy. */
function methodLabel(method: string): string {
  return METHODS.has(method) ? method : "other";
}

function family(name: string, type: string, help: string, samples: readonly (readonly [string, number])[]): string[] {
  const lines = samples.map(([labels, value]) => `${name}${labels === "" ? "" : `{${labels}}`} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines];
}
