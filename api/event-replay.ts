/** The event log as frames of a stream: from any point, without a gap, until the session is closed. */
import type { SessionId } from "../contract/ids.ts";
import type { EventTail, TailedEvent } from "../store/tail.ts";
import type { EventStream } from "./event-stream.ts";
import type { Metrics } from "./metrics.ts";

export interface Replay {
  readonly tail: EventTail;
  readonly metrics: Metrics;
}

/** Frames are joined up to so many characters per write. */
const WRITE_CHARACTERS = 64 * 1024;
const CLOSED = /^\{"seq":\d+,"at":\d+,"type":"session\.closed"/;

/** Where a reader begins. */
export interface ReplayStart {
  readonly stream: EventStream;
  readonly after: number;
  /** The session was closed when the reader came: what is in the log is all there will be. */
  readonly isClosed: boolean;
}

/** Writes everything after `start.after`, then what comes, and returns when the stream is over. */
export async function replayEvents(replay: Replay, sessionId: SessionId, start: ReplayStart): Promise<void> {
  const { stream } = start;
  using log = replay.tail.open(sessionId);
  let seq = start.after;
  let hasWaited = false;
  while (!stream.signal.aborted) {
    const events = await log.after(seq);
    if (events.length > 0) {
      hasWaited = false;
      seq = events.at(-1)?.seq ?? seq;
      if (await writeEvents(stream, events, replay.metrics)) break;
      continue;
    }
    // Told of more and then found nothing: the session was purged under its reader.
    if (start.isClosed || hasWaited) break;
    await log.changed(seq, stream.signal);
    hasWaited = true;
  }
  stream.end();
}

/** Writes a page in as few writes as the reader's pace allows; true when `session.closed` was in it. */
async function writeEvents(stream: EventStream, events: readonly TailedEvent[], metrics: Metrics): Promise<boolean> {
  let text = "";
  for (const event of events) {
    text += frameOf(event);
    if (text.length < WRITE_CHARACTERS) continue;
    await stream.write(text);
    text = "";
  }
  if (text !== "") await stream.write(text);
  metrics.eventsStreamed(events.length);
  return events.some((event) => CLOSED.test(event.json));
}

/** Frames of the events that several readers are sent. The tail gives all of them the same objects. */
const frames = new WeakMap<TailedEvent, string>();

function frameOf(event: TailedEvent): string {
  let frame = frames.get(event);
  if (frame === undefined) {
    frame = `id: ${event.seq}\ndata: ${event.json}\n\n`;
    frames.set(event, frame);
  }
  return frame;
}
