/** Taking a message in: committed as a row first, then handed to the workflow. Once committed it cannot get lost. */
import type { Content } from "../contract/blocks.ts";
import { ProblemError } from "../contract/errors.ts";
import type { MessageMode } from "../contract/events.ts";
import type { MessageAccepted } from "../contract/http.ts";
import { type MessageId, newId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Session } from "../contract/session.ts";
import { receiveMessage } from "../store/messages.ts";
import type { Dependencies } from "./dependencies.ts";
import { invalidField } from "./input.ts";

export interface IncomingMessage {
  readonly session: Session;
  readonly id: MessageId;
  readonly mode: MessageMode;
  readonly content: Content;
}

/** Accepts the message. The same one again gets the same answer. Throws CONFLICT, SESSION_CLOSED or QUEUE_FULL. */
export async function acceptMessage(deps: Dependencies, incoming: IncomingMessage): Promise<MessageAccepted> {
  const { session, id, mode, content } = incoming;
  if (Buffer.byteLength(JSON.stringify(content)) > LIMITS.messageBytesMax) {
    throw invalidField(
      "/content",
      `expected at most ${LIMITS.messageBytesMax} bytes of content; put large files into the workspace`,
    );
  }
  const wanted = { sessionId: session.id, id, turnId: newId("turn"), mode, content };
  const received = await receiveMessage(deps.store.database, wanted);
  deps.tail.poke();
  const accepted = { messageId: received.messageId, turnId: received.turnId, position: received.position };
  if (received.state === "refused") throw refused(id, "the session was closed before its turn");
  if (received.state === "removed") {
    throw new ProblemError("CONFLICT", `message ${id} was taken back and will not be answered; use a new id`);
  }
  if (received.state !== "received") return accepted;
  const delivery = await deps.delivery.deliver(session.id, id);
  if (delivery.state === "refused") throw refused(id, delivery.message);
  if (delivery.state !== "taken") return accepted;
  // One that steers goes into the turn that runs, not into one of its own.
  return { ...accepted, turnId: delivery.turnId, position: delivery.position };
}

function refused(id: MessageId, reason: string): ProblemError {
  return new ProblemError("SESSION_CLOSED", `message ${id} was refused: ${reason}`);
}
