/** The event log as frames of a stream: from any point, without a gap, until the session is closed. */

import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { EventTail, LiveLog, TailedEvent } from "../store/tail.ts";
import type { EventStream } from "./event-stream.ts";
import type { Metrics } from "./metrics.ts";

export interface Replay {
  readonly tail: EventTail;
  readonly metrics: Metrics;
}

/** Frames are joined up to so many characters per write. */
const WRITE_CHARACTERS = 64 * 1024;
/** What is read for a reader who was behind: most of a page would be read in vain. */
const ROWS_WHEN_BEHIND = 16;
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
  let rows: number = LIMITS.eventsPerPage.default;
  while (!stream.signal.aborted) {
    // A reader that is behind is not read for: what it has not taken is in the store, and nothing of it is held here.
    if (stream.isBehind) {
      rows = ROWS_WHEN_BEHIND;
      await stream.ready();
      continue;
    }
    const written = await writePage(replay, { log, stream, after: seq, rows });
    rows = Math.min(rows * 2, LIMITS.eventsPerPage.default);
    if (written !== undefined) {
      hasWaited = false;
      seq = written.seq;
      if (written.isClosed) break;
      continue;
    }
    // Told of more and then found nothing: the session was purged under its reader.
    if (start.isClosed || hasWaited) break;
    await log.changed(seq, stream.signal);
    hasWaited = true;
  }
  stream.end();
}

interface Page {
  readonly log: LiveLog;
  readonly stream: EventStream;
  readonly after: number;
  /** At most so many are read. */
  readonly rows: number;
}

/** Writes what comes next, as far as the reader keeps up; undefined when there is nothing. */
async function writePage(
  { metrics }: Replay,
  { log, stream, after, rows }: Page,
): Promise<{ readonly seq: number; readonly isClosed: boolean } | undefined> {
  const events = await log.after(after, rows);
  if (events.length === 0) return undefined;
  let [text, count, isClosed] = ["", 0, false];
  for (const event of events) {
    text += frameOf(event);
    count += 1;
    isClosed ||= CLOSED.test(event.json);
    if (text.length < WRITE_CHARACTERS) continue;
    // Not awaited: whoever waits here holds a page for it.
    void stream.write(text);
    text = "";
    if (stream.isBehind) break;
  }
  if (text !== "") void stream.write(text);
  metrics.eventsStreamed(count);
  return { seq: events[count - 1]?.seq ?? after, isClosed };
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
