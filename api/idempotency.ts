/** Ids that follow from an Idempotency-Key, so that a repeated POST finds what the first one made. */
import { createHash } from "node:crypto";
import type { Request } from "express";
import { z } from "zod";
import { type AgentId, type CallId, type MessageId, newId, type SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { parseFrom } from "./input.ts";

const KEY_RULE = `expected 1 to ${LIMITS.idempotencyKeyCharactersMax} visible ASCII characters`;

export const IdempotencyHeaders = z.object({
  "idempotency-key": z
    .string()
    .max(LIMITS.idempotencyKeyCharactersMax, KEY_RULE)
    .regex(/^[\x21-\x7e]+$/, KEY_RULE)
    .optional()
    .meta({ description: "The same key again is the same request: nothing is made twice." }),
});

export function idempotencyKey(request: Request): string | undefined {
  const key = request.get("idempotency-key");
  return parseFrom(IdempotencyHeaders, { "idempotency-key": key }, "headers")["idempotency-key"];
}

export function sessionIdFor(key: string | undefined): SessionId {
  return key === undefined ? newId("ses") : `ses_${digest(key)}`;
}

export function messageIdFor(sessionId: SessionId, key: string | undefined): MessageId {
  return key === undefined ? newId("msg") : `msg_${digest(`${sessionId}${key}`)}`;
}

/** Of a command of a caller. The key of an earlier session of that id names another one. */
export function callIdFor(sessionId: SessionId, incarnation: string, key: string | undefined): CallId {
  return key === undefined ? newId("call") : `call_${digest(`${sessionId}${incarnation}${key}`)}`;
}

export function agentIdForKey(key: string): AgentId {
  return `agent_${digest(key)}`;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 24);
}
