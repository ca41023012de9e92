/**
 * Space that deleted rows leave in the database's file, given back to the disk: a little at a time, as nobody else can write
 * meanwhile. A file that was made before 0.4 cannot do so until it is written anew once, which a small one is at a start.
 */
import { setImmediate as yieldLoop } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "./database.ts";

/** Gives back what is free beyond what new rows will soon take. Returns how many bytes. */
export async function giveBackFreePages(database: Database): Promise<number> {
  let given = 0;
  for (let slice = 0; slice < LIMITS.vacuumSlices; slice++) {
    const { freeBytes } = database.space();
    if (freeBytes <= LIMITS.freeBytesKept) break;
    const wanted = Math.min(LIMITS.vacuumSliceBytes, freeBytes - LIMITS.freeBytesKept);
    const got = await database.shrink(wanted);
    if (got === 0) break;
    given += got;
    await yieldLoop();
  }
  return given;
}
