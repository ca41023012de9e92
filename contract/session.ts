/** The session as the workflow tells it and as clients see it. */
import { z } from "zod";
import { Agent, AgentRef, ClientTool } from "./agents.ts";
import type { MessageMode } from "./events.ts";
import { CallId, MessageId, SessionId, TurnId } from "./ids.ts";
import { LIMITS } from "./limits.ts";
import { Usage } from "./usage.ts";
import { WaitKind, type WaitVerdict } from "./waits.ts";

export const SessionStatus = z.enum(["idle", "running", "waiting", "closed"]).meta({
  id: "SessionStatus",
  description:
    "`running` from a message's acceptance on, until no message waits and no turn runs; `waiting`: its turn waits for somebody.",
});
export type SessionStatus = z.infer<typeof SessionStatus>;

/** How a turn ended. */
export const TurnOutcome = z.enum(["completed", "failed", "interrupted"]).meta({ id: "TurnOutcome" });
export type TurnOutcome = z.infer<typeof TurnOutcome>;

/** The answer of the workflow's `getProgress` query: small, authoritative, the same in `temporal workflow query`. */
export const Progress = z
  .object({
    status: SessionStatus,
    turn: z
      .object({
        turnId: TurnId,
        messageId: MessageId,
        step: z.number().int().nonnegative(),
        startedAt: z.number().int(),
        /** Summed over the turn so far. */
        usage: Usage,
      })
      .nullable(),
    running: z.array(z.string()).meta({ description: "What runs now: `step`, or a call as `name callId`." }),
    waitingFor: z
      .string()
      .nullable()
      .meta({ description: "The waits in one line: `approval call_…, question call_…`." }),
    waits: z.array(z.object({ kind: WaitKind, callId: CallId, name: z.string(), deadline: z.number().int() })),
    queue: z.array(z.object({ messageId: MessageId, turnId: TurnId })),
    steering: z.array(MessageId).meta({ description: "Messages that join the turn at its next step." }),
    turns: z.number().int().nonnegative().meta({ description: "Turns that have ended." }),
    lastOutcome: TurnOutcome.nullable(),
    usage: Usage.meta({ description: "Of the whole session." }),
    limits: z.object({ messagesWaiting: z.number().int() }),
  })
  .meta({ id: "Progress" });
export type Progress = z.infer<typeof Progress>;

/** In each message to a session's workflow: one that carries another session of the same id takes none of them. */
export interface ForIncarnation {
  readonly incarnation?: string;
}

/** Argument of the update `submitMessage`. The message itself is a row, committed before. */
export interface SubmitMessage extends ForIncarnation {
  readonly messageId: MessageId;
  readonly turnId: TurnId;
  readonly mode: MessageMode;
}
/** Answer of the update `submitMessage`. position: 0 = goes now, n = n turns before it. */
export interface MessageTaken {
  readonly turnId: TurnId;
  readonly position: number;
}

/** Argument of the updates that tell a turn of an end of a wait. The decision itself is committed before, in the store. */
export interface WaitEnded extends ForIncarnation {
  readonly callId: CallId;
  readonly kind: WaitKind;
  /** Of the wait that has ended: it tells two waits of one call apart. */
  readonly deadline: number;
  readonly verdict: WaitVerdict;
}

/** Argument of the update `removeMessage`. */
export interface RemoveMessage extends ForIncarnation {
  readonly messageId: MessageId;
}

/** Argument of the signal `interruptTurn`. Without a turn: whatever runs. */
export interface InterruptTurn extends ForIncarnation {
  readonly turnId?: TurnId;
}

export const Metadata = z
  .record(
    z.string().regex(/^[\w.:/-]{1,64}$/, "expected a key of 1 to 64 letters, digits or _ . : / -"),
    z.string().max(512),
  )
  .refine(
    (value) => Object.keys(value).length <= LIMITS.metadataKeysMax,
    `expected at most ${LIMITS.metadataKeysMax} keys`,
  )
  .meta({ id: "Metadata" });
export type Metadata = z.infer<typeof Metadata>;

export const Session = z
  .object({
    id: SessionId,
    status: SessionStatus,
    title: z.string().nullable(),
    agent: Agent.meta({ description: "As the session runs it now." }),
    agentRef: AgentRef.nullable().meta({ description: "The stored agent that it was made from." }),
    clientTools: z.array(ClientTool),
    metadata: Metadata,
    createdAt: z.number().int(),
    updatedAt: z.number().int(),
    closedAt: z.number().int().nullable(),
    lastSeq: z.number().int().nonnegative(),
  })
  .meta({ id: "Session" });
export type Session = z.infer<typeof Session>;
