/**
 * The task queues of a stack: of everything that any of its workers can do, and of what only the workers of one host can.
 * They carry the stack's id, because several stacks may live at one Temporal, and none may take another's work.
 */

/** Of all stacks of versions before 0.4: sessions that were started then go on there. */
export const OLD_QUEUE = "perdure";

/** Where the API of a stack starts workflows and every worker of the stack polls. */
export function stackQueue(stack: string): string {
  return `perdure-${stack}`;
}

/** Where the workers of one host poll, for the sandboxes that live on it. */
export function hostQueue(stack: string, host: string): string {
  return `${stackQueue(stack)}-host-${host}`;
}

/** The same as sessions of versions before 0.4 remember it. */
export function oldHostQueue(host: string): string {
  return `${OLD_QUEUE}-host-${host}`;
}
