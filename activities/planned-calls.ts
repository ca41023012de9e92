/** What becomes of each call of a reply: it runs, it waits for somebody, or it has its answer at once. */
import { HANDOFF_PREFIX } from "../contract/agents.ts";
import type { ReplyBlock, ToolCallBlock } from "../contract/blocks.ts";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import { redact } from "../contract/redaction.ts";
import type { PlannedCall } from "../contract/steps.ts";
import type { MadeCall } from "../store/steps.ts";
import { type Gatekeeper, gateCall } from "./gated-calls.ts";

const SUMMARY_CHARACTERS = 60;
/** Of a summary that is looked at: a command may be megabytes long. */
const SUMMARY_READ_CHARACTERS = 2_000;
/** Room that a summary has at least: calls with long names, or that all wait, fill the step's answer before there are 20. */
const SUMMARY_BYTES_MIN = 8;
/** What the step's answer holds besides its calls and its news. */
const ANSWER_BYTES = 256;
/** News of an agent that a handoff has brought. Its name has up to 100 characters, of six bytes each at most. */
const HANDOFF_NEWS_BYTES = 860;

/** Decides every call of a reply, in its order. The step's answer holds `newsBytes` of a configuration, besides. */
export async function planCalls(
  gatekeeper: Gatekeeper,
  blocks: readonly ReplyBlock[],
  newsBytes = 0,
): Promise<{ readonly made: readonly MadeCall[]; readonly planned: readonly PlannedCall[] }> {
  const made: MadeCall[] = [];
  const planned: PlannedCall[] = [];
  // A repeat of this step, once it is committed, has the news of its own handoff to tell.
  const handsOver = blocks.some((block) => block.type === "tool_call" && block.name.startsWith(HANDOFF_PREFIX));
  const taken = ANSWER_BYTES + Math.max(newsBytes, handsOver ? HANDOFF_NEWS_BYTES : 0);
  for (const block of blocks) {
    if (block.type !== "tool_call") continue;
    if (planned.length >= LIMITS.callsPerStep) {
      made.push(tooMany(block));
      continue;
    }
    const gated = await gateCall(gatekeeper, { block, before: made });
    const fits = !gated.planned || summaryBytes([...planned, gated.planned], taken) >= SUMMARY_BYTES_MIN;
    made.push(fits ? gated.made : tooMany(block));
    if (gated.planned && fits) planned.push(gated.planned);
  }
  const room = summaryBytes(planned, taken);
  return { made, planned: planned.map((call) => ({ ...call, summary: fitting(shown(call.summary), room) })) };
}

/** What each summary may take as JSON, so that the step's answer, in which quick calls are not, stays in its bound. */
function summaryBytes(planned: readonly PlannedCall[], taken: number): number {
  const answered = planned.filter((call) => !call.quick);
  const bare = answered.map(({ quick, ...call }) => JSON.stringify({ ...call, summary: "" }).length + 1);
  const room = LIMITS.activityPayloadBytesMax - taken - bare.reduce((sum, bytes) => sum + bytes, 0);
  return Math.floor(room / Math.max(1, answered.length));
}

/** A summary is kept in Temporal's history, where no secret may be. */
function shown(summary: string): string {
  return redact(summary.slice(0, SUMMARY_READ_CHARACTERS).replace(/[^\x20-\x7e]+/g, " "));
}

/** Its beginning, as far as that fits. The text is plain ASCII, but a quote takes two bytes in JSON. */
function fitting(text: string, bytes: number): string {
  let cut = cutText(text, SUMMARY_CHARACTERS);
  while (cut !== "" && JSON.stringify(cut).length - 2 > bytes) cut = cutText(cut, cut.length - 1);
  return cut;
}

function tooMany(block: ToolCallBlock): MadeCall {
  const text = `This call was not run: one reply may make at most ${LIMITS.callsPerStep} calls, and fewer when many of them wait for somebody. Make it again if it is still needed.`;
  return { block, answer: { outcome: "error", text } };
}
