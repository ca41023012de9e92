/** The task queue of everything that any worker can do: where the API starts workflows and workers poll. */
export const TASK_QUEUE = "perdure";
