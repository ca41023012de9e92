/** What an exit code of `perdure` says, so that a script can tell the outcomes apart. */
import type { TurnOutcome } from "../contract/session.ts";

export const EXIT = {
  completed: 0,
  /** The turn failed, or the API refused what was asked. */
  failed: 1,
  /** The command line or the environment is wrong. */
  usage: 2,
  interrupted: 3,
  unreachable: 4,
  /** The turn waits for a person, and this command asks nobody. */
  waiting: 5,
  /** Ctrl-C: the command left, and the session goes on. */
  detached: 130,
} as const;

export const EXIT_OF: Readonly<Record<TurnOutcome, number>> = {
  completed: EXIT.completed,
  failed: EXIT.failed,
  interrupted: EXIT.interrupted,
};
