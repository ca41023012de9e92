/** Which of a reply's calls can be run, and what the model is told of the others. */
import type { Agent } from "../contract/agents.ts";
import type { ReplyBlock, ToolCallBlock } from "../contract/blocks.ts";
import { LIMITS } from "../contract/limits.ts";
import type { PlannedCall } from "../contract/steps.ts";
import type { MadeCall } from "../store/steps.ts";
import { parseArguments, TOOLS } from "../tools/registry.ts";

const SUMMARY_CHARACTERS = 60;
/** What a planned call takes in an activity's answer besides its summary: that answer has 2 KiB in all. */
const CALL_BYTES = 90;

/** Decides every call of a reply, in its order. */
export function planCalls(
  agent: Agent,
  blocks: readonly ReplyBlock[],
): { readonly made: readonly MadeCall[]; readonly planned: readonly PlannedCall[] } {
  const made: MadeCall[] = [];
  const planned: PlannedCall[] = [];
  for (const block of blocks) {
    if (block.type !== "tool_call") continue;
    const decided = planned.length < LIMITS.callsPerStep ? decide(agent, block) : tooMany();
    if (typeof decided === "string") made.push({ block, refusal: decided });
    else {
      made.push({ block });
      planned.push(decided);
    }
  }
  const room = Math.floor((LIMITS.activityPayloadBytesMax - 200) / Math.max(1, planned.length)) - CALL_BYTES;
  const characters = Math.max(0, Math.min(SUMMARY_CHARACTERS, room));
  return { made, planned: planned.map((call) => ({ ...call, summary: call.summary.slice(0, characters) })) };
}

function decide(agent: Agent, block: ToolCallBlock): PlannedCall | string {
  const name = agent.tools.find((allowed) => allowed === block.name);
  if (!name) {
    const have = agent.tools.length > 0 ? agent.tools.join(", ") : "none";
    return `There is no tool "${block.name.slice(0, 100)}". The tools are: ${have}.`;
  }
  const tool = TOOLS[name];
  const parsed = parseArguments(tool, block.arguments);
  if ("error" in parsed) return parsed.error;
  return { callId: block.callId, name, quick: tool.quick, summary: redact(tool.summary(parsed.args)) };
}

function tooMany(): string {
  return `This call was not run: one reply may make at most ${LIMITS.callsPerStep} calls. Make it again if it is still needed.`;
}

/** A summary is kept in Temporal's history, where no secret may be. */
function redact(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, " ")
    .replace(/\b(sk|pk|ghp|gho|xox[abp]|AKIA)[-_A-Za-z0-9]{8,}/g, "[redacted]")
    .replace(/((?:token|secret|password|passwd|api_?key|authorization)\S{0,3}[=: ]\s*)\S+/gi, "$1[redacted]");
}
