/** Which of a reply's calls can be run, and what the model is told of the others. */
import type { Agent } from "../contract/agents.ts";
import type { ReplyBlock, ToolCallBlock } from "../contract/blocks.ts";
import { LIMITS } from "../contract/limits.ts";
import type { PlannedCall } from "../contract/steps.ts";
import type { MadeCall } from "../store/steps.ts";
import { parseArguments, TOOLS } from "../tools/registry.ts";

const SUMMARY_CHARACTERS = 60;
/** Of a summary that is looked at: a command may be megabytes long. */
const SUMMARY_READ_CHARACTERS = 2_000;
/** What the step's answer holds besides its calls. */
const ANSWER_BYTES = 256;

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
  const room = summaryBytes(planned);
  return { made, planned: planned.map((call) => ({ ...call, summary: fitting(call.summary, room) })) };
}

/** What each summary may take as JSON, so that the step's answer, in which quick calls are not, stays in its bound. */
function summaryBytes(planned: readonly PlannedCall[]): number {
  const answered = planned.filter((call) => !call.quick);
  const bare = answered.map(({ callId, name }) => JSON.stringify({ callId, name, summary: "" }).length + 1);
  const room = LIMITS.activityPayloadBytesMax - ANSWER_BYTES - bare.reduce((sum, bytes) => sum + bytes, 0);
  return Math.floor(room / Math.max(1, answered.length));
}

/** Its beginning, as far as that fits. The text is plain ASCII, but a quote takes two bytes in JSON. */
function fitting(text: string, bytes: number): string {
  let cut = text.slice(0, SUMMARY_CHARACTERS);
  while (cut !== "" && JSON.stringify(cut).length - 2 > bytes) cut = cut.slice(0, -1);
  return cut;
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
    .slice(0, SUMMARY_READ_CHARACTERS)
    .replace(/[^\x20-\x7e]+/g, " ")
    .replace(/\b(?:sk|pk|rk|gh[opsu]|github_pat|glpat|xox[abeprs]|AKIA|ASIA|eyJ)[-_.A-Za-z0-9]{8,}/g, "[redacted]")
    .replace(/\b(bearer|basic)\s+[^\s"']+/gi, "$1 [redacted]")
    .replace(/:\/\/[^\s/@]*:[^\s/@]*@/g, "://[redacted]@")
    .replace(
      /((?:token|secret|passw(?:or)?d|passphrase|credential|authorization|(?:api|access|private)[_-]?key)[\w-]*["']?(?:\s*[=:]\s*|\s+))(?:"[^"]*"|'[^']*'|\S+)/gi,
      "$1[redacted]",
    );
}
