/**
 * Ids of our own workflows. A session's workflow has the session's id, which a client chooses; a colon is in no such id, so that
 * no session can be in the way of what is done for another one.
 */

export const OWN_WORKFLOWS = ["session", "purge", "idle", "keep", "workspace", "command", "terminal", "sweep"] as const;
export type OwnWorkflow = (typeof OWN_WORKFLOWS)[number];

/**
 * @param name What it is done for.
 * @param scope The incarnation of the session, or the stack: neither an earlier session of the same id nor another stack at the
 * same Temporal has the same one.
 */
export function ownWorkflowId(kind: OwnWorkflow, name: string, scope: string): string {
  return `perdure:${kind}:${name}:${scope}`;
}
