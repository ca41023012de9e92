/** What a chat knows of its session from the events alone: the turn that runs, and what waits for a person. */
import type { SessionEvent } from "../../contract/events.ts";
import type { Ask } from "./dialogs.ts";

export class Conversation {
  readonly #asks = new Map<string, Ask>();
  /** Messages whose turn has not begun. */
  readonly #waiting = new Set<string>();
  #turnId: string | undefined;
  #isClosed = false;

  /** The turn that runs. */
  get turnId(): string | undefined {
    return this.#turnId;
  }

  /** A turn runs, or will at once. */
  get isBusy(): boolean {
    return this.#turnId !== undefined || this.#waiting.size > 0;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** What nobody has decided yet, oldest first. */
  get asks(): readonly Ask[] {
    return [...this.#asks.values()];
  }

  take(event: SessionEvent): void {
    switch (event.type) {
      case "message.received":
        this.#waiting.add(event.messageId);
        break;
      case "message.steered":
      case "message.removed":
      case "message.refused":
        this.#waiting.delete(event.messageId);
        break;
      case "turn.started":
        this.#waiting.delete(event.messageId);
        this.#turnId = event.turnId;
        break;
      case "turn.completed":
      case "turn.failed":
      case "turn.interrupted":
        if (this.#turnId === event.turnId) this.#turnId = undefined;
        for (const ask of this.asks) if (ask.turnId === event.turnId) this.#asks.delete(ask.callId);
        break;
      case "approval.requested":
      case "question.asked":
        this.#asks.set(event.callId, event);
        break;
      case "approval.decided":
      case "question.answered":
        this.settle(event.callId);
        break;
      case "session.closed":
        this.#isClosed = true;
        this.#turnId = undefined;
        this.#waiting.clear();
        this.#asks.clear();
        break;
      default:
        break; // Nothing that somebody must do something about.
    }
  }

  /** It is decided, whether its event has come or not. */
  settle(callId: string): void {
    this.#asks.delete(callId);
  }
}
