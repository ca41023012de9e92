/** What there is of a session before a chat joins it: its last words, what runs, and what waits for somebody. */

import { asBlocks, type Content } from "../../contract/blocks.ts";
import { type SessionEvent, TURN_ENDS } from "../../contract/events.ts";
import type { SessionDetail } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Client } from "../client.ts";
import { safeLine } from "../terminal-text.ts";

export interface Recalled {
  /** The last messages and answers, safe for a terminal. */
  readonly lines: readonly { readonly text: string; readonly isDim: boolean }[];
  /** The events of the turn that runs; what is not shown is taken notice of. */
  readonly events: readonly { readonly event: SessionEvent; readonly isShown: boolean }[];
  /** The point of the log that they reach to. */
  readonly after: number;
}

/** A session that has just been made. */
export const NOTHING_RECALLED: Recalled = { lines: [], events: [], after: 0 };

const LINE_CHARACTERS = 400;
const LINES_OF_ONE = 8;

/** @throws ClientError */
export async function recall(client: Client, session: SessionDetail): Promise<Recalled> {
  const log = await lastEvents(client, session);
  const running = log.slice(indexOfRunning(log));
  const before = log.slice(0, log.length - running.length);
  const told = before.filter(({ type }) => type === "message.received" || TURN_ENDS.has(type));
  const lines = told.slice(-LIMITS.recalledMessages).flatMap(linesOf);
  const step = running.findLastIndex(({ type }) => type === "step.started" || type === "step.restarted");
  const events = running.map((event, i) => ({ event, isShown: isShown(event) || (step >= 0 && i >= step) }));
  const omitted = events.some(({ isShown: shown }) => !shown);
  if (omitted) lines.push({ text: "… a turn runs; what came before its present step is in the log", isDim: true });
  return { lines, events, after: log.at(-1)?.seq ?? session.lastSeq };
}

/** The end of the log, from far enough back to hold what waits. */
async function lastEvents(client: Client, session: SessionDetail): Promise<readonly SessionEvent[]> {
  const waits = new Set(session.progress?.waits.map(({ callId }): string => callId) ?? []);
  const limit = LIMITS.eventsPerPage.max;
  let log: readonly SessionEvent[] = [];
  let from = session.lastSeq;
  for (let read = 0; from > 0 && read < LIMITS.recalledEventsMax; read += limit) {
    const after = Math.max(0, from - limit);
    const { events } = await client.getEvents(session.id, { after, limit: from - after });
    log = [...events, ...log];
    from = after;
    for (const event of events) if (isRequest(event)) waits.delete(event.callId);
    const hasTurn = session.status === "idle" || session.status === "closed" || log.some(isTurnStart);
    if (waits.size === 0 && hasTurn) break;
  }
  return log;
}

function isTurnStart({ type }: SessionEvent): boolean {
  return type === "turn.started";
}

function isRequest(event: SessionEvent): event is Extract<SessionEvent, { readonly callId: string }> {
  return event.type === "approval.requested" || event.type === "question.asked" || event.type === "tool.requested";
}

/** Where the turn that runs begins: with its message. All of the log when its beginning is further back. */
function indexOfRunning(log: readonly SessionEvent[]): number {
  const end = log.findLastIndex(({ type }) => TURN_ENDS.has(type));
  const start = log.findIndex(({ type }, i) => i > end && type === "turn.started");
  if (start === -1) return end === -1 && log.some(({ type }) => type === "step.started") ? 0 : log.length;
  const started = log[start];
  const message = log.findIndex(
    (event) =>
      event.type === "message.received" && started?.type === "turn.started" && event.messageId === started.messageId,
  );
  return message === -1 ? start : Math.min(message, start);
}

/** Of the turn that runs, these are told whole; of the rest only its present step. */
function isShown({ type }: SessionEvent): boolean {
  return (
    ["turn.started", "message.received", "tool.requested"].includes(type) ||
    type.startsWith("approval.") ||
    type.startsWith("question.")
  );
}

function linesOf(event: SessionEvent): readonly { readonly text: string; readonly isDim: boolean }[] {
  if (event.type === "message.received") return bounded(contentText(event.content), "› ", false);
  if (event.type === "turn.completed") return bounded(event.output, "  ", true);
  if (event.type === "turn.interrupted") return bounded(`${event.output ?? ""} [interrupted]`, "  ", true);
  if (event.type === "turn.failed") return bounded(`[failed: ${event.code}: ${event.message}]`, "  ", true);
  return [];
}

function bounded(
  text: string,
  mark: string,
  isDim: boolean,
): readonly { readonly text: string; readonly isDim: boolean }[] {
  const lines = text
    .slice(0, LINES_OF_ONE * LINE_CHARACTERS * 2)
    .trim()
    .split("\n");
  const shown = lines.slice(0, LINES_OF_ONE).map((line) => safeLine(line, LINE_CHARACTERS));
  if (lines.length > shown.length) shown.push("…");
  return shown.map((line, i) => ({ text: `${i === 0 ? mark : "  "}${line}`, isDim }));
}

function contentText(content: Content): string {
  return asBlocks(content)
    .map((block) => (block.type === "text" ? block.text : `[${block.type}]`))
    .join(" ");
}
