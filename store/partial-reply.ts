/** What there was of a reply when its turn was stopped, put together again from the log: exactly what clients have seen of it. */
import type { TranscriptMessage } from "../contract/blocks.ts";
import { Fact } from "../contract/events.ts";
import type { SessionId, TurnId } from "../contract/ids.ts";
import type { Tx } from "./database.ts";

/** Events that are looked through, newest first. A reply that streamed more is kept from there on. */
const EVENTS_MAX = 20_000;
/** Blocks that had begun before those events. */
const EARLIER_BLOCKS_MAX = 64;
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
    .select(["seq", "fact"])
    .where("session_id", "=", of.sessionId)
    .orderBy("seq", "desc")
    .limit(EVENTS_MAX)
    .execute();
  const facts: Fact[] = [];
  for (const row of rows) {
    if (!OF_BLOCKS.test(row.fact)) continue;
    const fact = Fact.parse(JSON.parse(row.fact));
    if (!("step" in fact) || fact.turnId !== of.turnId || fact.step !== of.step) return facts.reverse();
    if (fact.type === "step.started" || fact.type === "step.restarted") return facts.reverse();
    facts.push(fact);
  }
  const before = rows.length < EVENTS_MAX ? 0 : (rows.at(-1)?.seq ?? 0);
  return [...(await earlierStarts(tx, of, before)), ...facts.reverse()];
}

/** What the blocks are whose pieces are among the newest events, and their beginning is not. */
async function earlierStarts(
  tx: Tx,
  of: { readonly sessionId: SessionId; readonly turnId: TurnId; readonly step: number },
  before: number,
): Promise<readonly Fact[]> {
  const rows = await tx
    .selectFrom("events")
    .select("fact")
    .where("session_id", "=", of.sessionId)
    .where("seq", "<", before)
    .where("fact", "like", '{"type":"block.started"%')
    .orderBy("seq", "desc")
    .limit(EARLIER_BLOCKS_MAX)
    .execute();
  const facts = rows.map((row) => Fact.parse(JSON.parse(row.fact)));
  // Those of a lost attempt come first, and the newest's take their place.
  return facts.filter((fact) => "step" in fact && fact.turnId === of.turnId && fact.step === of.step).reverse();
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
