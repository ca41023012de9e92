/** The workflow's own snapshot of a session, as a stream: one frame per change. */
import { Progress, type Session } from "../../contract/session.ts";
import { getSession } from "../../store/sessions.ts";
import type { Dependencies } from "../dependencies.ts";
import { type EventStream, STREAM_TYPE } from "../event-stream.ts";
import { type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";
import { closedProgress, type Viewer } from "../progress-watch.ts";

export function progressOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/progress",
      id: "streamProgress",
      summary: "Stream the progress of a session",
      description: "Frames `data: <Progress>`, one whenever it changes, until the session is closed.",
      params: SessionParams,
      answers: { 200: { description: "The stream.", contentType: STREAM_TYPE, schema: Progress } },
      problems: ["SESSION_NOT_FOUND", "TOO_MANY_STREAMS"],
      handle: async ({ params, request, response }) => {
        const session = await getSession(deps.store.database, params.sessionId);
        if (request.method === "HEAD") {
          response.status(200).setHeader("Content-Type", STREAM_TYPE);
          response.end();
          return undefined;
        }
        const stream = deps.streams.open(request, response, "progress");
        if (session.closedAt === null) await follow(deps, session, stream);
        else await tellLast(deps, session, stream);
        stream.end();
        return undefined;
      },
    }),
  ];
}

/** Resolves when the session is closed or the viewer has left. */
async function follow(deps: Dependencies, session: Session, stream: EventStream): Promise<void> {
  const viewer = new StreamViewer(stream);
  const leave = deps.progress.watch(session.id, { viewer, seq: session.lastSeq });
  try {
    await viewer.over;
  } finally {
    leave();
  }
}

/** A viewer that skips what its reader is too slow for: only the newest snapshot is worth anything. */
class StreamViewer implements Viewer {
  readonly over: Promise<void>;
  readonly #stream: EventStream;
  #finish: () => void = () => undefined;
  #next: string | undefined;
  #isWriting = false;
  #isClosed = false;

  constructor(stream: EventStream) {
    this.#stream = stream;
    this.over = new Promise((resolve) => {
      this.#finish = resolve;
      stream.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  progress(json: string): void {
    this.#next = `data: ${json}\n\n`;
    void this.#write();
  }

  comment(text: string): void {
    this.#next ??= `: ${text}\n\n`;
    void this.#write();
  }

  closed(): void {
    this.#isClosed = true;
    void this.#write();
  }

  async #write(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    while (this.#next !== undefined && !this.#stream.signal.aborted) {
      const frame = this.#next;
      this.#next = undefined;
      await this.#stream.write(frame);
    }
    this.#isWriting = false;
    if (this.#isClosed) this.#finish();
  }
}

/** Of a closed session: what its workflow, if anybody still remembers it, says last. */
async function tellLast(deps: Dependencies, session: Session, stream: EventStream): Promise<void> {
  try {
    const progress = closedProgress(await deps.sessions.progress(session.id));
    await stream.write(`data: ${JSON.stringify(progress)}\n\n`);
  } catch (error) {
    deps.logger.debug({ sessionId: session.id, err: error }, "no last progress to show");
    await stream.comment("the session is closed, and its workflow does not answer any more");
  }
}
