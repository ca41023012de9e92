/** One question to the person at the terminal, as a state machine of keys and lines. What they mean is done by who asks. */
import type { z } from "zod";
import type { SessionEventOf } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { AnswerQuestion, DecideApproval } from "../../contract/waits.ts";
import { safeLine } from "../terminal-text.ts";
import type { Key } from "./line-editor.ts";

export type Ask = SessionEventOf<"approval.requested" | "question.asked">;

/** What a key or a line asks for. */
export type DialogAction =
  | { readonly type: "decide"; readonly body: z.input<typeof DecideApproval> }
  | { readonly type: "answer"; readonly body: AnswerQuestion }
  /** The arguments in full. */
  | { readonly type: "view" }
  /** They are to be edited, or were. */
  | { readonly type: "edit" }
  | { readonly type: "edited"; readonly arguments: unknown }
  | { readonly type: "later" }
  | { readonly type: "say"; readonly text: string };

export interface Dialog {
  readonly ask: Ask;
  readonly hint: string;
  readonly label: string;
  /** Whether a line is typed; else single keys are. */
  readonly takesLine: boolean;
  /** A key, when no line is typed, or Escape. */
  press(key: Key): DialogAction | undefined;
  submit(line: string): DialogAction | undefined;
}

type Arguments = Readonly<Record<string, unknown>>;

const NAME_CHARACTERS = 40;

export class ApprovalDialog implements Dialog {
  readonly ask: SessionEventOf<"approval.requested">;
  readonly #hasProject: boolean;
  #mode: "keys" | "reason" | "edit" = "keys";
  #edited: Arguments | undefined;

  constructor(ask: SessionEventOf<"approval.requested">, hasProject: boolean) {
    this.ask = ask;
    this.#hasProject = hasProject;
  }

  get takesLine(): boolean {
    return this.#mode !== "keys";
  }

  get hint(): string {
    if (this.#mode === "reason")
      return "Enter denies it; the reason, if you give one, is told to the model · Esc goes back";
    if (this.#mode === "edit")
      return "the arguments as JSON; Enter takes them, and you are asked again · Esc goes back";
    const project = this.#hasProject ? " · p project" : "";
    return `y once · s session${project} · a always · n no · e edit · v view all · l later`;
  }

  get label(): string {
    if (this.#mode === "reason") return "deny, because: ";
    if (this.#mode === "edit") return "arguments: ";
    const edited = this.#edited ? " with your arguments" : "";
    return `approve ${safeLine(this.ask.name, NAME_CHARACTERS)}${edited}? `;
  }

  /** What would run. */
  get arguments(): unknown {
    return this.#edited ?? this.ask.arguments;
  }

  press(key: Key): DialogAction | undefined {
    if (key.name === "escape") this.#mode = "keys";
    if (this.#mode !== "keys" || key.ctrl || key.meta) return undefined;
    switch (key.sequence) {
      case "y":
        return this.#approve("once");
      case "s":
        return this.#approve("session");
      case "a":
        return this.#approve("always");
      case "p":
        if (this.#hasProject) return this.#approve("project");
        return { type: "say", text: "this session belongs to no project (perdure chat --project names one)" };
      case "n":
        this.#mode = "reason";
        return undefined;
      case "e":
        return { type: "edit" };
      case "v":
        return { type: "view" };
      case "l":
        return { type: "later" };
      default:
        return undefined;
    }
  }

  submit(line: string): DialogAction | undefined {
    if (this.#mode === "edit") return this.takeEdited(line);
    const reason = line.trim().slice(0, LIMITS.reasonCharactersMax);
    this.#mode = "keys";
    const { argumentsHash } = this.ask;
    return { type: "decide", body: { decision: "deny", argumentsHash, ...(reason !== "" && { reason }) } };
  }

  /** They are edited in the line. */
  editHere(): void {
    this.#mode = "edit";
  }

  /** What somebody made of the arguments. They are shown, and asked about again, before anything runs. */
  takeEdited(text: string): DialogAction {
    const read = objectOf(text);
    if (typeof read === "string") return { type: "say", text: read };
    this.#mode = "keys";
    if (JSON.stringify(read) === JSON.stringify(this.arguments)) return { type: "say", text: "nothing was changed" };
    this.#edited = read;
    return { type: "edited", arguments: read };
  }

  #approve(scope: "once" | "session" | "project" | "always"): DialogAction {
    const { argumentsHash } = this.ask;
    const edited = this.#edited && { arguments: this.#edited };
    return { type: "decide", body: { decision: "approve", scope, argumentsHash, ...edited } };
  }
}

export class QuestionDialog implements Dialog {
  readonly ask: SessionEventOf<"question.asked">;
  readonly takesLine = true;
  readonly label = "answer: ";

  constructor(ask: SessionEventOf<"question.asked">) {
    this.ask = ask;
  }

  get hint(): string {
    const { choices = [], allowFreeform } = this.ask;
    const numbers = choices.length > 0 ? `1 to ${choices.length}` : "";
    const ways = [numbers, allowFreeform || choices.length === 0 ? "your own words" : ""].filter((way) => way !== "");
    return `${ways.join(", or ")} · /later puts it off`;
  }

  press(): undefined {
    return undefined;
  }

  submit(line: string): DialogAction | undefined {
    const text = line.trim();
    if (text === "") return undefined;
    if (text === "/later") return { type: "later" };
    const { choices = [], allowFreeform } = this.ask;
    const choice = choiceOf(text, choices);
    if (choice !== undefined) return { type: "answer", body: { choice } };
    if (!allowFreeform && choices.length > 0)
      return { type: "say", text: `choose one by its number, 1 to ${choices.length}` };
    if (text.length > LIMITS.answerCharactersMax)
      return { type: "say", text: `an answer holds at most ${LIMITS.answerCharactersMax} characters` };
    return { type: "answer", body: { answer: text } };
  }
}

/** A choice by its number, or by its very words. */
function choiceOf(text: string, choices: readonly string[]): number | undefined {
  const index = /^\d{1,3}$/.test(text) ? Number(text) - 1 : choices.indexOf(text);
  return index >= 0 && index < choices.length ? index : undefined;
}

function objectOf(text: string): Arguments | string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
    return "arguments are a JSON object: nothing was changed";
  } catch (error) {
    return `this is not JSON (${error instanceof Error ? error.message : String(error)}): nothing was changed`;
  }
}
