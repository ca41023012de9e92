/** What a turn waits for from outside, on the screen: approvals with their exact arguments, questions, tools of the caller. */
import type { SessionEventOf } from "../contract/events.ts";
import { LIMITS } from "../contract/limits.ts";
import type { DecidedBy } from "../contract/waits.ts";
import { argumentRows, type RowBounds } from "./arguments-text.ts";
import { countText, durationText } from "./quantities.ts";
import type { Screen } from "./screen.ts";
import { safeLine, safeText } from "./terminal-text.ts";

export interface WaitViewOptions {
  /** Whoever shows this asks, and shows each request when it asks; else it is told how to decide. */
  readonly asksHere: boolean;
  readonly columns: number;
}

export type WaitEvent = SessionEventOf<
  "approval.requested" | "approval.decided" | "question.asked" | "question.answered" | "tool.requested"
>;

const NAME_CHARACTERS = 60;
const TEXT_CHARACTERS = 2_000;
const BY: Readonly<Record<DecidedBy, string>> = {
  person: "by a person",
  deadline: "by its deadline",
  stop: "by the end of the turn",
  grant: "as remembered",
};
/** Room of the bar in front of arguments, and one column at the right. */
const MARGIN = 5;

export class WaitView {
  readonly #screen: Screen;
  readonly #options: WaitViewOptions;
  /** What waits, by call: how it is told. */
  readonly #waiting = new Map<string, string>();
  /** Calls whose end is told by what somebody said: denied ones, and questions. */
  readonly #told = new Set<string>();

  constructor(screen: Screen, options: WaitViewOptions) {
    this.#screen = screen;
    this.#options = options;
  }

  /** What is waited for, in words; undefined when nothing is. */
  get waiting(): string | undefined {
    const [first, ...others] = this.#waiting.values();
    if (first === undefined) return undefined;
    return others.length === 0 ? `waits for ${first}` : `waits for ${others.length + 1} decisions`;
  }

  /** A call has its result. Whether that is told already. */
  completed(callId: string): boolean {
    this.#waiting.delete(callId);
    return this.#told.delete(callId);
  }

  /** The turn is over, and nothing of it waits any more. */
  reset(): void {
    this.#waiting.clear();
    this.#told.clear();
  }

  show(event: WaitEvent): void {
    switch (event.type) {
      case "approval.requested":
        this.#waiting.set(event.callId, `an approval of ${safeLine(event.name, NAME_CHARACTERS)}`);
        if (!this.#options.asksHere) this.approval(event);
        break;
      case "approval.decided":
        this.#decided(event);
        break;
      case "question.asked":
        this.#waiting.set(event.callId, "an answer");
        if (!this.#options.asksHere) this.question(event);
        break;
      case "question.answered":
        this.#answered(event);
        break;
      case "tool.requested":
        this.#toolRequested(event);
        break;
    }
  }

  approval(event: SessionEventOf<"approval.requested">): void {
    const { style } = this.#screen;
    const name = safeLine(event.name, NAME_CHARACTERS);
    this.#screen.gap();
    this.#screen.line(`${style(["yellow", "bold"], `? may ${name} run?`)} ${style("dim", event.callId)}`);
    this.arguments(event.arguments, LIMITS.shownArgumentRows.default);
    this.#screen.line(style("dim", `  why: ${safeLine(event.reason, TEXT_CHARACTERS)}`));
    this.#screen.line(style("dim", `  denied ${untilText(event.deadline)}`));
    const { callId } = event;
    if (!this.#options.asksHere) this.#screen.line(style("dim", `  decide with: perdure approve ${callId} (or deny)`));
  }

  question(event: SessionEventOf<"question.asked">): void {
    const { style } = this.#screen;
    this.#screen.gap();
    const lines = safeText(event.question.slice(0, LIMITS.questionCharactersMax)).split("\n");
    for (const [i, line] of lines.entries()) {
      this.#screen.line(
        i === 0 ? `${style(["yellow", "bold"], `? ${line}`)} ${style("dim", event.callId)}` : `  ${line}`,
      );
    }
    for (const [i, choice] of (event.choices ?? []).entries()) {
      this.#screen.line(`  ${style("bold", String(i + 1))}  ${safeLine(choice, TEXT_CHARACTERS)}`);
    }
    this.#screen.line(style("dim", `  goes on unanswered ${untilText(event.deadline)}`));
  }

  /** The arguments, each row behind a bar. */
  arguments(args: unknown, rowsMax: number): void {
    const bounds: RowBounds = { rowsMax, columns: this.#options.columns - MARGIN };
    const { rows, hidden } = argumentRows(args, bounds);
    const { style } = this.#screen;
    for (const row of rows) this.#screen.line(`  ${style("yellow", "│")} ${row}`);
    if (hidden > 0) this.#screen.line(`  ${style("yellow", `│ … ${countText(hidden, "more row")} not shown here`)}`);
  }

  #decided(event: SessionEventOf<"approval.decided">): void {
    const what = this.#waiting.get(event.callId)?.replace(/^an approval of /, "") ?? event.callId;
    this.#waiting.delete(event.callId);
    const { style } = this.#screen;
    const scope = event.scope === "once" ? "" : `, ${SCOPES[event.scope]}`;
    const edited = event.arguments === undefined ? "" : ", with edited arguments";
    const reason = event.reason === undefined ? "" : `: ${safeLine(event.reason, TEXT_CHARACTERS)}`;
    const words = `${what} ${BY[event.by]}${scope}${edited}`;
    if (event.decision === "approve") this.#screen.line(style("green", `✓ approved ${words}`) + style("dim", reason));
    else {
      this.#screen.line(style("yellow", `✗ denied ${words}`) + style("dim", reason));
      this.#told.add(event.callId);
    }
    if (event.arguments !== undefined) this.arguments(event.arguments, LIMITS.shownArgumentRows.default);
  }

  #answered(event: SessionEventOf<"question.answered">): void {
    this.#waiting.delete(event.callId);
    this.#told.add(event.callId);
    const { style } = this.#screen;
    if (event.answer === null) this.#screen.line(style("yellow", `✗ not answered: ended ${BY[event.by]}`));
    else this.#screen.line(`${style("green", "✓ answered:")} ${safeLine(event.answer, TEXT_CHARACTERS)}`);
  }

  #toolRequested(event: SessionEventOf<"tool.requested">): void {
    const { style } = this.#screen;
    const name = safeLine(event.name, NAME_CHARACTERS);
    this.#waiting.set(event.callId, `the result of ${name}`);
    this.#screen.gap();
    this.#screen.line(
      `${style(["yellow", "bold"], `? ${name} is to be run by its owner`)} ${style("dim", event.callId)}`,
    );
    this.arguments(event.arguments, LIMITS.shownArgumentRows.default);
    const words = "a tool of the session's caller, which this command does not run; its result is waited for";
    this.#screen.line(style("dim", `  ${words}; given up ${untilText(event.deadline)}`));
  }
}

const SCOPES = { session: "for this session", project: "for this project", always: "always" } as const;

/** A deadline as a clock time and as the time that is left. */
export function untilText(deadline: number, now = Date.now()): string {
  const at = new Date(deadline);
  const clock = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const day = deadline - now > 12 * 3_600_000 ? ` on ${at.toLocaleDateString("en-CA")}` : "";
  return deadline <= now ? "now" : `at ${clock}${day}, in ${durationText(deadline - now)}`;
}
