/** How a model is told that a person stopped it in the middle of the message before: every backend says it in the same words. */
export const INTERRUPTED_NOTE = "[The user stopped this reply before it was finished.]";
