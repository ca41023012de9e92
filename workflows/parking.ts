/** A turn that does nothing but wait is left to the next run, once this one has grown long. */
import { CancellationScope, condition } from "@temporalio/workflow";
import type { TurnEnd } from "./turn.ts";

/** How the turn ended, unless it could be parked before. `park` is asked whenever something has happened; true: it is parked. */
export async function endedOrParked(running: Promise<TurnEnd>, park: () => boolean): Promise<TurnEnd> {
  // A stop must not end this before what it stops has really ended.
  return await CancellationScope.nonCancellable(async () => {
    const watch = new CancellationScope();
    const parked = watch.run(() => condition(park));
    try {
      return await Promise.race([running, parked.then((): TurnEnd => ({ ended: "boundary" }))]);
    } finally {
      watch.cancel();
    }
  });
}
