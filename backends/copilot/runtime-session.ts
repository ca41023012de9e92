/**
 * One session of the runtime: made for one attempt of a step, and perhaps left open for the step after it.
 *
 * Between two steps it must be still. Whatever is heard of it then, it does not stand any more where its step left it.
 */
import { randomUUID } from "node:crypto";
import type { CopilotSession, SessionEvent } from "@github/copilot-sdk";
import type { BackendState } from "../backend.ts";
import type { StateMeta } from "./continuation.ts";
import { SessionLog } from "./session-log.ts";

/** The state that a step gave back: a session that stands at it may serve the step that begins with it, and no other. */
export interface Standing {
  /** Names this very attempt, whatever others have made of the same step. */
  readonly mark: string;
  /** Characters of the whole text, and what was added to it last. */
  readonly length: number;
  readonly tail: string;
}

/** They tell once more what the step has heard, sometimes a moment after it, and nothing happens with them. */
const REPORTS: ReadonlySet<string> = new Set([
  "model.call_finished",
  "model.message",
  "model.messages_snapshot",
  "model.model_call_success",
  "model.response",
  "model.turn_ended",
]);

export class RuntimeSession {
  /** The runtime's own id, new for each session, so that nothing late of one can reach another. */
  readonly id = randomUUID();
  readonly log: SessionLog;
  /** All that it was opened with; it cannot be changed afterwards. */
  readonly setup: string;
  readonly #openedAt = Date.now();
  readonly #opened = Promise.withResolvers<CopilotSession>();
  #listener: ((event: SessionEvent) => void) | undefined;
  #standing: Standing | undefined;
  #isStill = true;

  constructor(parts: { readonly text: string; readonly isKept: boolean; readonly setup: string }) {
    this.log = new SessionLog(parts.text, { id: this.id, isKept: parts.isKept });
    this.setup = parts.setup;
    this.#opened.promise.catch(() => undefined);
  }

  get ageMs(): number {
    return Date.now() - this.#openedAt;
  }

  get opened(): Promise<CopilotSession> {
    return this.#opened.promise;
  }

  open(opening: Promise<CopilotSession>): void {
    this.#opened.resolve(opening);
  }

  tell(event: SessionEvent): void {
    if (this.#listener !== undefined) this.#listener(event);
    else if (!REPORTS.has(event.type)) this.#isStill = false;
  }

  /** Its events belong to this step from here on. */
  serve(listener: (event: SessionEvent) => void): void {
    this.#listener = listener;
    this.#standing = undefined;
    this.log.thaw();
  }

  /** Its step is over, and has given this state back. */
  rest(standing: Standing): void {
    this.#listener = undefined;
    this.#standing = standing;
    this.log.freeze();
  }

  /** Its step is over, and nobody will hear of it again. */
  end(): void {
    this.#listener = undefined;
    this.#standing = undefined;
    this.#isStill = false;
    this.log.freeze();
  }

  /** Whether the state is, to the last character, what this session has made and still stands at. */
  standsAt({ text, meta }: BackendState): boolean {
    const at = this.#standing;
    if (at === undefined || !this.#isStill || this.log.isDisturbed) return false;
    return (meta as StateMeta).mark === at.mark && text.length === at.length && text.endsWith(at.tail);
  }
}
