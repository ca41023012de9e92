/**
 * Ids. What Perdure makes carries a prefix that names its kind, so that a log line explains itself and the compiler
 * refuses a turn where a call belongs. A client may choose the id of a session and of a message: those are plain names.
 */
import { z } from "zod";

/** What a client may choose as an id: safe as a path part, a URL part and a Temporal workflow id. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const NAME_RULE = "expected 1 to 64 letters, digits, _ or -, starting with a letter or digit";

export const SessionId = z
  .string()
  .regex(NAME, NAME_RULE)
  .meta({ description: "A session's id; its Temporal workflow id too." });
export type SessionId = z.infer<typeof SessionId>;

export const MessageId = z
  .string()
  .regex(NAME, NAME_RULE)
  .meta({ description: "A message's id, the client's or ours." });
export type MessageId = z.infer<typeof MessageId>;

export const AgentId = z
  .string()
  .regex(NAME, NAME_RULE)
  .meta({ description: "A stored agent's id, the client's or made from its name." });
export type AgentId = z.infer<typeof AgentId>;

export const TurnId = z.templateLiteral(
  ["turn_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected turn_ and 1 to 64 letters, digits, _ or -",
);
export type TurnId = z.infer<typeof TurnId>;

export const CallId = z.templateLiteral(
  ["call_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected call_ and 1 to 64 letters, digits, _ or -",
);
export type CallId = z.infer<typeof CallId>;

export const ArtifactId = z.templateLiteral(
  ["art_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected art_ and 1 to 64 letters, digits, _ or -",
);
export type ArtifactId = z.infer<typeof ArtifactId>;

/** A remembered decision's id. */
export const GrantId = z.templateLiteral(
  ["grant_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected grant_ and 1 to 64 letters, digits, _ or -",
);
export type GrantId = z.infer<typeof GrantId>;

export const SandboxId = z.templateLiteral(
  ["sbx_", z.string().regex(/^[A-Za-z0-9_-]{1,100}$/)],
  "expected sbx_ and 1 to 100 letters, digits, _ or -",
);
export type SandboxId = z.infer<typeof SandboxId>;

export const SnapshotId = z.templateLiteral(
  ["snap_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected snap_ and 1 to 64 letters, digits, _ or -",
);
export type SnapshotId = z.infer<typeof SnapshotId>;

export const TerminalId = z.templateLiteral(
  ["term_", z.string().regex(/^[A-Za-z0-9_-]{1,64}$/)],
  "expected term_ and 1 to 64 letters, digits, _ or -",
);
export type TerminalId = z.infer<typeof TerminalId>;

/** Position in one session's event log: 1, 2, 3 … without a gap. 0 is before the first event. */
export const Seq = z.number().int().nonnegative();
export type Seq = z.infer<typeof Seq>;

type Prefix = "ses" | "msg" | "turn" | "call" | "art" | "grant" | "agent" | "snap" | "term";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"; // Crockford's base 32, lower case: no i, l, o, u.

/** A new id: the prefix, 9 characters of the clock (so that ids sort by age) and 10 random ones (50 bits). */
export function newId<P extends Prefix>(prefix: P): `${P}_${string}` {
  let clock = "";
  for (let rest = Date.now(), i = 0; i < 9; i++) {
    clock = ALPHABET.charAt(rest % 32) + clock;
    rest = Math.floor(rest / 32);
  }
  const random = crypto.getRandomValues(new Uint8Array(10));
  return `${prefix}_${clock}${Array.from(random, (byte) => ALPHABET.charAt(byte % 32)).join("")}`;
}
