/** Bounds of what looks for work that is still to be done, and for workflows that do not agree with the rows. Times in milliseconds. */

export const RECONCILE_LIMITS = {
  /** The reconciler's beat, and how old a message is when it takes it for undelivered. */
  reconcileEveryMs: 1_000,
  undeliveredAfterMs: 3_000,
  reconcileSessionsAtOnce: 16,
  /** Rows of a session at work that have not moved for so long make its workflow be asked; each time it agrees, later again. */
  quietMs: 5_000,
  quietPauseMs: { first: 5_000, max: 300_000 },
  /** Sessions whose workflow disagreed with its rows at one look, and is looked at once more. */
  suspectsMax: 10_000,
  /** A workflow that answers nothing, and whose task was tried so often or has waited for so long, cannot go on. */
  stuckTaskTries: 3,
  stuckTaskMs: 20_000,
  /** Workflows of sessions that are over are looked for: first after the start, and then so often; and only so many, older than that. */
  leftFirstMs: 10_000,
  leftEveryMs: 300_000,
  leftMax: 10_000,
  leftOlderMs: 30_000,
  /** Stops of a turn that is about to begin are told to its workflow so often at most: each is a part of its history. */
  stopEveryMs: 2_000,
  /** Of a round over what is still to be done: items that it reads at once and looks at in one beat, and places for those that failed. */
  roundPage: 100,
  roundItemsPerBeat: 1_000,
  roundRetriesAtOnce: 4,
  roundPauseMs: { first: 1_000, max: 30_000 },
  /** A pause that is over for so long is of something that is not there any more. */
  roundPauseKeptMs: 600_000,
  roundPausesMax: 10_000,
} as const;
