/**
 * Tickets: the proof, in the input of a workflow that may destroy something, that this stack has asked for it. Whoever can only
 * start workflows at Temporal cannot make one, and an old one is of no use for a later session of the same id.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { SessionId } from "../contract/ids.ts";
import type { OwnWorkflow } from "../contract/workflow-ids.ts";
import type { Database } from "./database.ts";
import { SupersededError } from "./error.ts";
import { findPlace } from "./session-places.ts";

const NAME = "ticket-secret";
const SECRET_BYTES = 32;

export interface Ticketed {
  readonly sessionId: SessionId;
  readonly ticket?: string;
}

export class Tickets {
  readonly #database: Database;
  readonly #secret: string;

  private constructor(database: Database, secret: string) {
    this.#database = database;
    this.#secret = secret;
  }

  static async open(database: Database): Promise<Tickets> {
    return new Tickets(database, await readSecret(database));
  }

  /** Of a session's own workflow, or of one that does something to a session. */
  of(kind: OwnWorkflow, session: { readonly sessionId: SessionId; readonly incarnation: string }): string {
    return this.#sign([kind, session.sessionId, session.incarnation]);
  }

  /** Of what is done for the whole stack. */
  ofStack(kind: OwnWorkflow): string {
    return this.#sign([kind]);
  }

  isOfStack(kind: OwnWorkflow, ticket: string | undefined): boolean {
    return isEqual(this.ofStack(kind), ticket);
  }

  /**
   * Whether the work may be done. False: the session is gone, and so is all that could be done. Throws SupersededError when the
   * ticket is missing, of another kind, or of an earlier session of this id.
   * @param workflowId Of the workflow that asks: sessions of before 0.4 have no ticket, and are known by it.
   */
  async admit(given: Ticketed, kinds: readonly OwnWorkflow[], workflowId: string): Promise<boolean> {
    const place = await findPlace(this.#database, given.sessionId);
    if (!place) return false;
    if (kinds.some((kind) => isEqual(this.of(kind, place), given.ticket))) return true;
    const isOld = kinds.includes("session") && place.incarnation === "" && given.ticket === undefined;
    if (isOld && workflowId === place.workflowId) return true;
    throw new SupersededError(
      `workflow ${workflowId} has no ticket of session ${given.sessionId}: it was started for an earlier session of that id, or not by this stack`,
    );
  }

  #sign(parts: readonly string[]): string {
    return createHmac("sha256", this.#secret).update(JSON.stringify(parts)).digest("base64url");
  }
}

function isEqual(ticket: string, given: string | undefined): boolean {
  if (given === undefined || given.length !== ticket.length) return false;
  return timingSafeEqual(Buffer.from(ticket), Buffer.from(given));
}

/** Made once, and kept with the rows: a restored store knows the tickets of its time. */
async function readSecret(database: Database): Promise<string> {
  const known = await database.read.selectFrom("settings").select("value").where("name", "=", NAME).executeTakeFirst();
  if (known) return known.value;
  return await database.write(async (tx) => {
    await tx
      .insertInto("settings")
      .values({ name: NAME, value: randomBytes(SECRET_BYTES).toString("base64url") })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    const row = await tx.selectFrom("settings").select("value").where("name", "=", NAME).executeTakeFirstOrThrow();
    return row.value;
  });
}
