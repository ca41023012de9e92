/**
 * The task queues of a stack: of everything that any of its workers can do, of what only the workers of one host can, and of
 * what one worker alone can. They carry the stack's id, because several stacks may live at one Temporal,
 * and none may take another's work.
 *
 * Each of them is a name to begin with: every kind of work has a queue of its own behind it, with slots of its own, so that
 * no kind can take the place of another.
 */

/** Of all stacks of versions before 0.4: sessions that were started then go on there. */
export const OLD_QUEUE = "perdure";

/** In the data of a namespace of an embedded Temporal: the stack that it is of. */
export const STACK_MARK = "perdure-stack";

/** Where the API of a stack starts workflows and every worker of the stack polls. */
export function stackQueue(stack: string): string {
  return `perdure-${stack}`;
}

/** Where the workers of one host poll, for the sandboxes that live on it. */
export function hostQueue(stack: string, host: string): string {
  return `${stackQueue(stack)}-host-${host}`;
}

/** Where one worker alone polls, for what the others of the stack cannot do. `worker` is the id by which it announces itself. */
export function workerQueue(stack: string, of: { readonly host: string; readonly worker: string }): string {
  return `${hostQueue(stack, of.host)}${ONE}${of.worker}`;
}

export function isOfOneWorker(queue: string): boolean {
  return queue.includes(ONE);
}

const ONE = "~";

/** The same as sessions of versions before 0.4 remember it. */
export function oldHostQueue(host: string): string {
  return `${OLD_QUEUE}-host-${host}`;
}

/**
 * Kinds of work, each with slots of its own, so that nothing that lasts can hold up another kind. Closing and clearing away
 * is `upkeep`.
 */
export const WORK_KINDS = [
  "model",
  "command",
  "caller",
  "terminal",
  "look",
  "transfer",
  "snapshot",
  "upload",
  "upkeep",
] as const;
export type WorkKind = (typeof WORK_KINDS)[number];

/**
 * The queue of one kind of work behind a queue. A model's step is on the queue itself, where its workflow is: Temporal then
 * returns the activity with the workflow task that asked for it (eager execution), which saves each step a way through the
 * server's queues. The queues of versions before 0.4 stay whole: only their workers made more of them.
 */
export function kindQueue(queue: string, kind: WorkKind): string {
  const isOld = queue === OLD_QUEUE || queue.startsWith(`${OLD_QUEUE}-host-`);
  return kind === "model" || isOld ? queue : `${queue}:${kind}`;
}
