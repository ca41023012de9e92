/** Decisions in words, and the words for one that came too late. */
import { ApprovalDecision, type DecidedBy, type DecisionTaken, QuestionAnswer } from "../contract/waits.ts";
import { ClientError } from "./client-error.ts";
import { agoText } from "./quantities.ts";
import { safeLine } from "./terminal-text.ts";

const TEXT_CHARACTERS = 500;

const BY: Readonly<Record<DecidedBy, string>> = {
  person: "by a person",
  deadline: "by its deadline",
  stop: "by the end of its turn",
  grant: "as remembered",
};

/** `denied by a person 3 min ago: not on a Friday`. */
export function decisionText(decision: ApprovalDecision): string {
  const { by, at, reason } = decision;
  const verb = decision.decision === "approve" ? "approved" : "denied";
  const edited = decision.arguments ? " with edited arguments" : "";
  const why = reason === undefined ? "" : `: ${safeLine(reason, TEXT_CHARACTERS)}`;
  return `${verb} ${BY[by]}${edited} ${agoText(at)}${why}`;
}

/** What is remembered of it, and how to take that back. */
export function rememberedText({ scope, grantId }: DecisionTaken, urlOption: string): string | undefined {
  if (grantId === undefined) return undefined;
  const where = { once: "", session: "for this session", project: "for this project", always: "everywhere" }[scope];
  return `remembered ${where}: perdure revoke ${grantId}${urlOption}`;
}

/** A refusal because the first decision stands, told with that decision; any other error as it is. */
export function withFirst(error: unknown): unknown {
  if (!(error instanceof ClientError) || error.problem?.code !== "ALREADY_DECIDED") return error;
  const { first, detail } = error.problem;
  const approval = ApprovalDecision.safeParse(first);
  if (approval.success) return tooLate(error, decisionText(approval.data));
  const answer = QuestionAnswer.safeParse(first);
  if (!answer.success) return new ClientError("refused", detail, { cause: error });
  const { answer: text, by, at } = answer.data;
  const said = text === null ? "left unanswered" : `answered "${safeLine(text, TEXT_CHARACTERS)}"`;
  return tooLate(error, `${said} ${BY[by]} ${agoText(at)}`);
}

function tooLate(error: ClientError, first: string): ClientError {
  const options = { cause: error, ...(error.problem && { problem: error.problem }) };
  return new ClientError("refused", `too late, and nothing is changed: it was ${first}`, options);
}
