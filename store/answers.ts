/** A person's answer to a question, and a caller's result of a tool that it runs: taken once, and the call's result. */
import type { Fact } from "../contract/events.ts";
import { LIMITS } from "../contract/limits.ts";
import type {
  AnswerQuestion,
  AnswerTaken,
  PostToolResult,
  QuestionAnswer,
  ToolResultGiven,
  ToolResultTaken,
} from "../contract/waits.ts";
import type { Database } from "./database.ts";
import { boundKey, type Deciding, decideFirst, unfit } from "./first-decision.ts";
import { endByResult, placeOf, requestOf } from "./wait-endings.ts";
import type { QuestionRequest } from "./waits.ts";

type Answering = Omit<Deciding, "kind">;

/** Throws NOT_FOUND, ALREADY_DECIDED with the first, or INVALID_INPUT when it is not among the choices. */
export async function answerQuestion(
  database: Database,
  answering: Answering & { readonly body: AnswerQuestion },
): Promise<AnswerTaken> {
  const { body, callId } = answering;
  const key = boundKey(answering.key, body);
  const decision = await decideFirst(database, { ...answering, key, kind: "question" }, async (tx, wait) => {
    const chosen = choose(requestOf(wait) as QuestionRequest, body);
    const answer: QuestionAnswer & { answer: string } = { ...chosen, by: "person", at: Date.now() };
    const { at: _at, ...said } = answer;
    const fact: Fact = { type: "question.answered", ...placeOf(wait), ...said };
    const result = { outcome: "ok" as const, text: answer.answer };
    return { decision: answer, facts: [fact, ...(await endByResult(tx, wait, { decision: answer, key, result }))] };
  });
  return { ...decision, callId };
}

function choose(
  question: QuestionRequest,
  body: AnswerQuestion,
): { readonly answer: string; readonly choice?: number } {
  const { choices = [], allowFreeform } = question;
  if (body.choice !== undefined) {
    const answer = choices[body.choice];
    if (answer !== undefined) return { answer, choice: body.choice };
    throw unfit(
      "/choice",
      choices.length === 0 ? "expected answer instead: this question has no choices" : expected(choices),
    );
  }
  const answer = body.answer ?? "";
  const choice = choices.indexOf(answer);
  if (choice >= 0) return { answer, choice };
  if (allowFreeform) return { answer };
  throw unfit("/answer", expected(choices));
}

const CHOICES_SHOWN = 20;
const CHOICE_CHARACTERS = 80;

function expected(choices: readonly string[]): string {
  const shown = choices.slice(0, CHOICES_SHOWN).map((choice, i) => `${i} "${choice.slice(0, CHOICE_CHARACTERS)}"`);
  const more = choices.length > shown.length ? ` and ${choices.length - shown.length} more` : "";
  return `expected one of the choices: ${shown.join(", ")}${more}`;
}

/** Throws NOT_FOUND, or ALREADY_DECIDED with the first. */
export async function giveToolResult(
  database: Database,
  giving: Answering & { readonly body: PostToolResult },
): Promise<ToolResultTaken> {
  const { body, callId } = giving;
  const key = boundKey(giving.key, body);
  const decision = await decideFirst(database, { ...giving, key, kind: "tool" }, async (tx, wait) => {
    const given: ToolResultGiven = { outcome: body.outcome, by: "person", at: Date.now() };
    const result = { outcome: body.outcome, text: resultText(body.result) };
    return { decision: given, facts: await endByResult(tx, wait, { decision: given, key, result }) };
  });
  return { ...decision, callId };
}

const WORDS_BYTES = 256;

/** As the model is shown it: a text as it is, else its JSON; what is too long is cut, and says so. */
function resultText(result: unknown): string {
  const text = typeof result === "string" ? result : JSON.stringify(result);
  const bytes = Buffer.from(text);
  if (bytes.length <= LIMITS.toolResultBytes) return text;
  // A character that the cut would split is left out: its first byte is not a continuation byte.
  let end = LIMITS.toolResultBytes - WORDS_BYTES;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  const head = bytes.subarray(0, end).toString("utf8");
  return `${head}\n[cut: this result has ${bytes.length} bytes, and its first ${end} are shown; ask the tool for less at once]`;
}
