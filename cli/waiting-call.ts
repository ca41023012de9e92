/** From the beginning of a call's id to the one call that is meant, wherever it waits. */
import { LIMITS } from "../contract/limits.ts";
import type { Approval } from "../contract/waits.ts";
import type { Client, WaitingCall } from "./client.ts";
import { ClientError } from "./client-error.ts";
import { readPages } from "./pages.ts";
import { UsageError } from "./usage-error.ts";

export interface Meant {
  /** A call's id, or its beginning, with or without `call_`. */
  readonly call: string;
  readonly session: string | undefined;
}

/** So many calls and sessions are looked through, the newest of those that are decided. */
const LOOKED_AT_MAX = 5_000;
const CANDIDATES_SHOWN = 8;

/**
 * The approval that waits, or when none does, one that is decided: who decides it then is told so.
 * Throws UsageError when several are meant, ClientError when none is.
 */
export async function findApproval(client: Client, meant: Meant): Promise<Approval> {
  for (const status of ["pending", undefined]) {
    const found = (await approvals(client, meant, status)).filter(({ callId }) => isMeant(callId, meant));
    const only = onlyOne(found, meant);
    if (only) return only;
  }
  throw nothingWaits(meant, "an approval", "`perdure approvals` lists those that do");
}

async function approvals(client: Client, meant: Meant, status: string | undefined): Promise<readonly Approval[]> {
  const { items } = await readPages(LOOKED_AT_MAX, LIMITS.approvalsPerPage.max, async (query) => {
    const page = await client.listApprovals({ ...query, status, sessionId: meant.session });
    return { items: page.approvals, next: page.next };
  });
  return items;
}

/** The question that waits. Throws UsageError when several are meant, ClientError when none is. */
export async function findQuestion(client: Client, meant: Meant): Promise<WaitingCall> {
  const found: WaitingCall[] = [];
  for (const sessionId of await waitingSessions(client, meant)) {
    const { progress } = await client.getSession(sessionId);
    const calls = (progress?.waits ?? []).filter(({ kind, callId }) => kind === "question" && isMeant(callId, meant));
    found.push(...calls.map(({ callId }) => ({ sessionId, callId })));
  }
  const only = onlyOne(found, meant);
  if (only) return only;
  // No worker may have been there to say what waits; the API knows a call that is named in full.
  if (meant.session !== undefined && meant.call.startsWith("call_")) {
    return { sessionId: meant.session, callId: meant.call };
  }
  throw nothingWaits(meant, "an answer", "it has been answered, or its session is to be said with --session");
}

async function waitingSessions(client: Client, { session }: Meant): Promise<readonly string[]> {
  if (session !== undefined) return [session];
  const { items } = await readPages(LOOKED_AT_MAX, LIMITS.sessionsPerPage.max, async (query) => {
    const page = await client.listSessions({ ...query, status: "waiting" });
    return { items: page.sessions, next: page.next };
  });
  return items.map(({ id }) => id);
}

function isMeant(callId: string, { call }: Meant): boolean {
  return callId.startsWith(call.startsWith("call_") ? call : `call_${call}`);
}

function onlyOne<T extends { readonly callId: string; readonly sessionId: string }>(
  found: readonly T[],
  { call }: Meant,
): T | undefined {
  const exact = found.find(({ callId }) => callId === call);
  if (exact || found.length < 2) return exact ?? found[0];
  const shown = found.slice(0, CANDIDATES_SHOWN).map(({ callId, sessionId }) => `${callId} of ${sessionId}`);
  const more = found.length > shown.length ? ` and ${found.length - shown.length} more` : "";
  throw new UsageError(`${call} may be ${shown.join(", ")}${more}: say more of its id`);
}

function nothingWaits({ call, session }: Meant, forWhat: string, hint: string): ClientError {
  const where = session === undefined ? "" : ` of session ${session}`;
  return new ClientError("refused", `no call ${call}${where} waits for ${forWhat}: ${hint}`);
}
