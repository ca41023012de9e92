/** What Temporal's lists show of a session, and can be searched by. */
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";
import { upsertSearchAttributes } from "@temporalio/workflow";
import type { SessionStatus } from "../contract/session.ts";

const STATUS = defineSearchAttributeKey("PerdureStatus", SearchAttributeType.KEYWORD);
const AGENT = defineSearchAttributeKey("PerdureAgent", SearchAttributeType.KEYWORD);
const WAITING_FOR = defineSearchAttributeKey("PerdureWaitingFor", SearchAttributeType.KEYWORD);

export function announceStatus(status: SessionStatus): void {
  upsertSearchAttributes([{ key: STATUS, value: status }]);
}

export function announceAgent(name: string): void {
  upsertSearchAttributes([{ key: AGENT, value: name }]);
}

/** The kinds of what is waited for; empty: nothing is. */
export function announceWaiting(kinds: string): void {
  upsertSearchAttributes([
    { key: STATUS, value: kinds === "" ? "running" : "waiting" },
    { key: WAITING_FOR, value: kinds === "" ? null : kinds },
  ]);
}
