/** What there was of a reply when its turn was stopped, put together again from the log: exactly what clients have seen of it. */
import type { TranscriptMessage } from "../contract/blocks.ts";
import { Fact } from "../contract/events.ts";
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Tx } from "./database.ts";

/** Events that are looked through, newest first. A reply that streamed more is kept from there on. */
const EVENTS_MAX = 20_000;
const OF_BLOCKS = /^\{"type":"(block\.(started|delta|completed)|step\.(started|restarted))"/;

interface Seen {
  text: string;
  isText: boolean;
  isWhole: boolean;
}

export interface PartialReply {
  readonly message: TranscriptMessage;
  readonly text: string;
  /** The ends of those blocks that had none. */
  readonly facts: readonly Fact[];
}

/** The texts of a step that was not committed; undefined when it had said nothing. */
export async function partialReply(
  tx: Tx,
  of: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly step: number },
): Promise<PartialReply | undefined> {
  const blocks = new Map<number, Seen>();
  for (const fact of await factsOfAttempt(tx, of)) note(blocks, fact);
  const texts = [...blocks].sort(([a], [b]) => a - b).filter(([, seen]) => seen.isText && seen.text !== "");
  if (texts.length === 0) return undefined;
  const { turnId, step } = of;
  return {
    message: {
      role: "assistant",
      blocks: texts.map(([, { text }]) => ({ type: "text", text })),
      interrupted: true,
    },
    text: texts.map(([, { text }]) => text).join("\n"),
    facts: texts
      .filter(([, seen]) => !seen.isWhole)
      .map(([index, { text }]) => ({
        type: "block.completed",
        turnId,
        step,
        index,
        block: { type: "text", text },
        interrupted: true,
      })),
  };
}

/** The newest attempt's facts about its blocks, in their order. */
async function factsOfAttempt(
  tx: Tx,
  of: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly step: number },
): Promise<readonly Fact[]> {
  const rows = await tx
    .selectFrom("events")
    .select("fact")
    .where("session_id", "=", of.sessionId)
    .orderBy("seq", "desc")
    .limit(EVENTS_MAX)
    .execute();
  const facts: Fact[] = [];
  for (const row of rows) {
    if (!OF_BLOCKS.test(row.fact)) continue;
    const fact = Fact.parse(JSON.parse(row.fact));
    if (!("step" in fact) || fact.turnId !== of.turnId || fact.step !== of.step) break;
    if (fact.type === "step.started" || fact.type === "step.restarted") break;
    facts.push(fact);
  }
  return facts.reverse();
}

function note(blocks: Map<number, Seen>, fact: Fact): void {
  if (fact.type === "block.started") {
    blocks.set(fact.index, { text: "", isText: fact.block.type === "text", isWhole: false });
    return;
  }
  const seen = fact.type === "block.delta" || fact.type === "block.completed" ? blocks.get(fact.index) : undefined;
  if (!seen) return;
  if (fact.type === "block.delta") seen.text += fact.text;
  if (fact.type === "block.completed") {
    seen.isWhole = true;
    if (fact.block.type === "text") seen.text = fact.block.text;
  }
}
