/** Call folders of a living sandbox: the newest are kept, within a bound; of the others, those whose result is committed go. */
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { CallId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { readEnd } from "./call-folder.ts";
import { removeTree } from "./host-removal.ts";

/** Whether the result of that call is committed, so that no retry looks for it here; undefined: the id is no call's of a session. */
export type IsCommitted = (callId: CallId) => Promise<boolean | undefined>;

const BLOCK = 512;

interface CallFolder {
  readonly id: CallId;
  readonly folder: string;
  readonly changedAt: number;
  readonly bytes: number;
}

/** Returns how many went. One that has not ended stays, however old it is. */
export async function trimCalls(calls: string, isCommitted: IsCommitted): Promise<number> {
  const newestFirst = callFolders(calls).toSorted((a, b) => b.changedAt - a.changedAt);
  let bytes = 0;
  let trimmed = 0;
  for (const [index, call] of newestFirst.entries()) {
    bytes += call.bytes;
    if (index < LIMITS.callFoldersKept && bytes <= LIMITS.callBytesKept) continue;
    if (readEnd(call.folder) === undefined) continue;
    const isOld = call.changedAt < Date.now() - LIMITS.callUnknownKeptMs;
    if (!((await isCommitted(call.id)) ?? isOld)) continue;
    await removeTree(call.folder);
    trimmed += 1;
  }
  return trimmed;
}

function callFolders(calls: string): readonly CallFolder[] {
  return namesIn(calls).flatMap((name) => {
    const id = CallId.safeParse(name);
    const folder = path.join(calls, name);
    const stats = statSync(folder, { throwIfNoEntry: false });
    if (!id.success || stats === undefined) return [];
    const spools = namesIn(folder).map(
      (one) => statSync(path.join(folder, one), { throwIfNoEntry: false })?.blocks ?? 0,
    );
    return [
      { id: id.data, folder, changedAt: stats.mtimeMs, bytes: spools.reduce((all, one) => all + one * BLOCK, 0) },
    ];
  });
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // Its sandbox has gone meanwhile.
  }
}
