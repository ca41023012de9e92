/**
 * Approvals and questions, put to the person one after the other. Nothing is decided by keys that were meant for a
 * message: a dialog opens only when nothing is being typed. What is decided elsewhere meanwhile disappears with a word.
 */

import type { SessionEvent } from "../../contract/events.ts";
import { newId } from "../../contract/ids.ts";
import { ApprovalDecision, QuestionAnswer } from "../../contract/waits.ts";
import type { Client } from "../client.ts";
import { ClientError } from "../client-error.ts";
import { safeJson, safeLine } from "../terminal-text.ts";
import type { Conversation } from "./conversation.ts";
import { ApprovalDialog, type Ask, type Dialog, type DialogAction, QuestionDialog } from "./dialogs.ts";
import type { Key, LineEditor } from "./line-editor.ts";

/** `ask` puts them to the person; `never` leaves them to others; `always` approves what asks, once. */
export type Approving = "ask" | "never" | "always";

/** What a dialog needs of the chat around it. */
export interface AskingStage {
  readonly editor: LineEditor;
  say(text: string): void;
  showAsk(ask: Ask): void;
  showArguments(args: unknown): void;
  /** In an editor of the person's own; undefined when there is none. */
  edit(text: string): Promise<string> | undefined;
  /** Sends until it is answered. */
  send(request: () => Promise<void>): void;
  changed(): void;
}

export interface AskingOptions {
  readonly client: Client;
  readonly sessionId: string;
  readonly conversation: Conversation;
  readonly approving: Approving;
  readonly hasProject: boolean;
  readonly typeAheadMs: number;
}

/** Editing in one line is no help for more than this. */
const EDITED_HERE_CHARACTERS = 4_000;
const MESSAGE_CHARACTERS = 500;

export class Asking {
  readonly #options: AskingOptions;
  readonly #stage: AskingStage;
  /** Kept by call, so that one that is asked again knows what was edited. */
  readonly #dialogs = new Map<string, Dialog>();
  readonly #putOff = new Set<string>();
  /** Decided here; the answer is on its way. */
  readonly #sent = new Set<string>();
  #dialog: Dialog | undefined;
  #openedAt = 0;
  #shown: string | undefined;

  constructor(options: AskingOptions, stage: AskingStage) {
    this.#options = options;
    this.#stage = stage;
  }

  get dialog(): Dialog | undefined {
    return this.#dialog;
  }

  /** How many were left for later. */
  get putOff(): number {
    return this.#open().filter(({ callId }) => this.#putOff.has(callId)).length;
  }

  /** How many would be asked, if nothing were being typed. */
  get held(): number {
    const isHeld = this.#dialog === undefined && !this.#stage.editor.isEmpty && this.#options.approving !== "never";
    return isHeld ? this.#open().length - this.putOff : 0;
  }

  /** Asks what was put off, too. */
  askAll(): number {
    this.#putOff.clear();
    this.#shown = undefined;
    this.openNext();
    return this.#open().length;
  }

  /** Opens the next dialog, when nothing is open, nothing is being typed, and the one before is told in the log. */
  openNext(): void {
    if (this.#dialog || !this.#stage.editor.isEmpty || this.#options.approving === "never") return;
    if (this.#open().length < this.#options.conversation.asks.length) return;
    const ask = this.#open().find(({ callId }) => !this.#putOff.has(callId));
    if (!ask) return;
    this.#dialog = this.#dialogs.get(ask.callId) ?? this.#dialogFor(ask);
    this.#dialogs.set(ask.callId, this.#dialog);
    this.#openedAt = Date.now();
    if (this.#shown !== ask.callId) this.#stage.showAsk(ask);
    this.#shown = ask.callId;
  }

  /** Makes room for a command; the dialog comes back after it. */
  putAside(): void {
    this.#dialog = undefined;
  }

  /** To be told of every event after the conversation was, and before it is shown. */
  take(event: SessionEvent): void {
    if (event.type === "approval.requested" && this.#options.approving === "always") {
      const { argumentsHash } = event;
      this.#perform(this.#dialogFor(event), { type: "decide", body: { decision: "approve", argumentsHash } });
    }
    const dialog = this.#dialog;
    if (!dialog || this.#options.conversation.asks.some(({ callId }) => callId === dialog.ask.callId)) return;
    this.#close(dialog);
    this.#stage.say(`${dialog.ask.callId} needs no decision here any more:`);
  }

  press(key: Key): void {
    const dialog = this.#dialog;
    if (!dialog) return;
    // Pressed just as the dialog appeared, it was meant for something else.
    if (!dialog.takesLine && Date.now() - this.#openedAt < this.#options.typeAheadMs) return;
    if (dialog.takesLine) this.#stage.editor.set("");
    const action = dialog.press(key);
    if (action) this.#perform(dialog, action);
  }

  submit(line: string): void {
    const dialog = this.#dialog;
    const action = dialog?.submit(line);
    if (dialog && action) this.#perform(dialog, action);
  }

  #open(): readonly Ask[] {
    return this.#options.conversation.asks.filter(({ callId }) => !this.#sent.has(callId));
  }

  #dialogFor(ask: Ask): Dialog {
    return ask.type === "question.asked" ? new QuestionDialog(ask) : new ApprovalDialog(ask, this.#options.hasProject);
  }

  #close(dialog: Dialog): void {
    if (this.#dialog !== dialog) return;
    if (dialog.takesLine) this.#stage.editor.set("");
    this.#dialog = undefined;
  }

  #perform(dialog: Dialog, action: DialogAction): void {
    const { client, sessionId } = this.#options;
    const call = { sessionId, callId: dialog.ask.callId };
    switch (action.type) {
      case "decide":
        this.#send(dialog, (key) => client.decideApproval(call, action.body, { key }));
        break;
      case "answer":
        this.#send(dialog, (key) => client.answerQuestion(call, action.body, { key }));
        break;
      case "view":
        this.#stage.showArguments(dialog instanceof ApprovalDialog ? dialog.arguments : undefined);
        break;
      case "edit":
        if (dialog instanceof ApprovalDialog) this.#edit(dialog);
        break;
      case "edited":
        this.#stage.say("it would run with your arguments:");
        this.#stage.showArguments(action.arguments);
        break;
      case "later":
        this.#putOff.add(call.callId);
        this.#close(dialog);
        this.#stage.say(`put off: /approvals asks again, and so does perdure approvals`);
        this.openNext();
        break;
      case "say":
        this.#stage.say(action.text);
        break;
    }
  }

  #edit(dialog: ApprovalDialog): void {
    const text = safeJson(JSON.stringify(dialog.arguments, null, 2));
    const edited = this.#stage.edit(`${text}\n`);
    if (!edited) {
      if (text.length > EDITED_HERE_CHARACTERS) {
        this.#stage.say("these are too long to be edited in one line: set EDITOR, and come back");
        return;
      }
      dialog.editHere();
      this.#stage.editor.set(safeJson(JSON.stringify(dialog.arguments)));
      return;
    }
    edited
      .then((result) => {
        // It may have been decided while the editor was open, which has been told.
        if (this.#dialog === dialog) this.#perform(dialog, dialog.takeEdited(result));
      })
      .catch((error: unknown) => this.#stage.say(`nothing was edited: ${wordsOf(error)}`))
      .finally(() => {
        this.openNext();
        this.#stage.changed();
      });
  }

  #send(dialog: Dialog, decide: (key: string) => Promise<unknown>): void {
    const { callId } = dialog.ask;
    // The same key however often it is sent: an answer that was lost is not a second decision.
    const key = newId("msg");
    this.#sent.add(callId);
    this.#close(dialog);
    this.#stage.send(async () => {
      try {
        await decide(key);
      } catch (error) {
        this.#refused(callId, error);
      }
      this.#stage.changed();
    });
  }

  /** Of a refusal, what can be decided anew is asked anew. */
  #refused(callId: string, error: unknown): void {
    if (!(error instanceof ClientError) || error.problem === undefined || error.problem.status === 503) throw error;
    const { code, first } = error.problem;
    if (code === "ALREADY_DECIDED") {
      this.#options.conversation.settle(callId);
      this.#stage.say(`too late, the first decision stands: ${firstText(first)}`);
    } else if (code === "NOT_FOUND" || code === "SESSION_CLOSED") {
      this.#options.conversation.settle(callId);
      this.#stage.say(`${callId} is gone: ${wordsOf(error)}`);
    } else {
      this.#sent.delete(callId);
      this.#stage.say(`it was not taken: ${wordsOf(error)}`);
    }
  }
}

function firstText(first: unknown): string {
  const decision = ApprovalDecision.safeParse(first).data;
  if (decision) {
    const reason = decision.reason === undefined ? "" : `, because ${safeLine(decision.reason, MESSAGE_CHARACTERS)}`;
    const verb = decision.decision === "approve" ? "approved" : "denied";
    return `${verb} (${decision.by}, ${decision.scope})${reason}`;
  }
  const answer = QuestionAnswer.safeParse(first).data;
  if (!answer) return "it is decided";
  return answer.answer === null
    ? `ended without an answer (${answer.by})`
    : safeLine(answer.answer, MESSAGE_CHARACTERS);
}

function wordsOf(error: unknown): string {
  return safeLine(error instanceof Error ? error.message : String(error), MESSAGE_CHARACTERS);
}
