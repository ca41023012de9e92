/** The end of a turn's time, which stands still while the turn waits for people. */
import { CancellationScope, condition, isCancellation, sleep } from "@temporalio/workflow";

export interface Clock {
  /** Milliseconds since 1970, as it is now: waiting moves it. */
  readonly deadline: () => number;
  readonly isWaiting: () => boolean;
}

/** Calls `over` when the time is up. Returns what ends the watch, and resolves when that has ended. */
export function watchDeadline({ deadline, isWaiting }: Clock, over: () => void): () => Promise<void> {
  const timer = new CancellationScope();
  const watching = timer
    .run(async () => {
      do {
        await sleep(Math.max(1, deadline() - Date.now()));
        if (isWaiting()) await condition(() => !isWaiting());
      } while (deadline() > Date.now());
    })
    .then(over)
    .catch((error: unknown) => {
      if (!isCancellation(error)) throw error;
    });
  return async () => {
    timer.cancel();
    await watching;
  };
}
