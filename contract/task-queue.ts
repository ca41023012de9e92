/** The task queues: of everything that any worker can do, and of what only the workers of one host can. */

/** Where the API starts workflows and every worker polls. */
export const TASK_QUEUE = "perdure";

/** Where the workers of one host poll, for the sandboxes that live on it. */
export function hostQueue(host: string): string {
  return `${TASK_QUEUE}-host-${host}`;
}
