/** The first decision on a wait stands: whoever comes second is told it, and a repeat of the first is answered as the first was. */
import { ProblemError } from "../contract/errors.ts";
import type { Fact } from "../contract/events.ts";
import type { WaitKey } from "../contract/steps.ts";
import type { WaitKind } from "../contract/waits.ts";
import { contentHash } from "./content-hash.ts";
import type { Database, Tx } from "./database.ts";
import { append } from "./event-log.ts";
import type { WaitsTable } from "./schema.ts";
import { type Decision, expire, findWait, requestOf } from "./wait-endings.ts";

/** A decision as somebody wants to make it. */
export interface Deciding extends WaitKey {
  /** The Idempotency-Key of the request, bound to what it says (`boundKey`). */
  readonly key?: string | undefined;
}

/** A key of a client, which holds no blank, with the hash of what it was sent with: so that other content under it is told apart. */
export function boundKey(key: string | undefined, body: unknown): string | undefined {
  return key === undefined ? undefined : `${key} ${contentHash(body)}`;
}

/** What a decision brings about. The rows are written by then; the facts are appended behind it. */
export interface Decided<D extends Decision> {
  readonly decision: D;
  readonly facts: readonly Fact[];
}

/**
 * Lets `decide` end the wait in one transaction, if it is pending and its deadline has not passed.
 * Throws NOT_FOUND, or ALREADY_DECIDED with the decision that stands; what `decide` throws leaves the wait as it was.
 */
export async function decideFirst<D extends Decision>(
  database: Database,
  deciding: Deciding,
  decide: (tx: Tx, wait: WaitsTable) => Promise<Decided<D>>,
): Promise<D> {
  const result = await database.write(async (tx) => {
    const wait = await findWait(tx, deciding);
    if (!wait) throw nothingWaits(deciding);
    const repeated = repeatOf<D>(wait, deciding.key);
    if (repeated) return { taken: repeated };
    if (wait.state !== "pending") return { first: firstOf(wait) };
    if (wait.deadline <= Date.now()) {
      // The turn may not have seen its deadline yet; a decision that comes after it is late all the same.
      await append(tx, deciding.sessionId, await expire(tx, wait));
      return { first: firstOf(await findWait(tx, deciding)) };
    }
    const decided = await decide(tx, wait);
    await append(tx, deciding.sessionId, decided.facts);
    return { taken: decided.decision };
  });
  if ("taken" in result) return result.taken;
  throw alreadyDecided(deciding, result.first);
}

function repeatOf<D extends Decision>(wait: WaitsTable, key: string | undefined): D | undefined {
  if (key === undefined) return undefined;
  const earlier = requestOf(wait).earlier ?? [];
  const last = wait.state === "decided" && wait.decided_key !== null && wait.decision !== null;
  const made = [...earlier, ...(last ? [{ key: wait.decided_key, decision: JSON.parse(wait.decision ?? "") }] : [])];
  const [name] = key.split(" ");
  const same = made.find((decided) => decided.key?.split(" ")[0] === name);
  if (same && same.key !== key) {
    throw new ProblemError("CONFLICT", `the Idempotency-Key ${name} was sent with another decision; use a new one`);
  }
  return same?.decision as D | undefined;
}

function firstOf(wait: WaitsTable | undefined): Decision {
  if (!wait?.decision) throw new Error("a wait that has ended has no decision");
  return JSON.parse(wait.decision) as Decision;
}

const WAITS_FOR: Readonly<Record<WaitKind, string>> = {
  approval: "an approval",
  question: "an answer",
  tool: "a tool's result",
};

function nothingWaits({ callId, sessionId, kind }: WaitKey): ProblemError {
  return new ProblemError(
    "NOT_FOUND",
    `there is no call ${callId} of session ${sessionId} that waits for ${WAITS_FOR[kind]}`,
  );
}

const ENDED_BY: Readonly<Record<Decision["by"], string>> = {
  person: "somebody was faster",
  deadline: "its deadline has passed",
  stop: "its turn has ended",
  grant: "a remembered decision was there",
};

function alreadyDecided({ callId, kind }: WaitKey, first: Decision): ProblemError {
  const detail = `call ${callId} does not wait for ${WAITS_FOR[kind]} any more: ${ENDED_BY[first.by]}; \`first\` is what stands`;
  return new ProblemError("ALREADY_DECIDED", detail, { first });
}

/** INVALID_INPUT for one field of what was sent. */
export function unfit(path: string, message: string): ProblemError {
  return new ProblemError("INVALID_INPUT", `${path}: ${message}`, { errors: [{ path, message }] });
}
