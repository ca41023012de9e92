/**
 * Call folders of a living sandbox on the far side of a connection: the newest are kept, within a bound; of the others, those
 * whose result is committed go. What the sandbox says of them is a stranger's word: bounded, and no more than names and sizes.
 */
import { CallId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { IsCommitted } from "../trimmed-calls.ts";
import type { ExecChannel } from "./channel.ts";

const LIST_MS = 20_000;
const LIST_BYTES_MAX = 1024 * 1024;
const REMOVED_AT_ONCE = 100;
const KIB = 1024;
const MINUTE_MS = 60_000;

/** Nothing is measured as long as they are few: most sandboxes have a handful. Newest first; sizes; those that have ended. */
const LIST = `cd "$1" || exit 0
ls -1t; echo
[ "$(ls | wc -l)" -le "$2" ] && [ "$(du -sk . | cut -f 1)" -le "$3" ] && exit 0
du -sk call_*; echo
ls -1d call_*/exit; echo
find . -maxdepth 1 -name 'call_*' -mmin "+$4"`;
const REMOVE = 'cd "$1" && shift && rm -rf -- "$@"';

/** Returns how many went. One that has not ended stays, however old it is; so does one that is no call's of a session, for a while. */
export async function trimRemoteCalls(channel: ExecChannel, state: string, isCommitted: IsCommitted): Promise<number> {
  const calls = `${state}/calls`;
  const { callFoldersKept, callBytesKept } = LIMITS;
  const bounds = [callFoldersKept, callBytesKept / KIB, LIMITS.callUnknownKeptMs / MINUTE_MS].map(String);
  const listed = await printed(channel, ["sh", "-c", LIST, "perdure", calls, ...bounds]);
  const parts = listed.split("\n\n").map((part) => part.split("\n").filter((line) => line !== ""));
  const [newestFirst = [], sizes = [], ends = [], olds = []] = parts;
  const sizeOf = new Map(sizes.map((line) => line.split("\t")).map(([kib, name = ""]) => [name, Number(kib) * KIB]));
  const ended = new Set(ends.map((line) => line.replace(/\/exit$/, "")));
  const old = new Set(olds.map((line) => line.replace(/^\.\//, "")));
  const going: string[] = [];
  let bytes = 0;
  for (const [index, name] of newestFirst.entries()) {
    bytes += sizeOf.get(name) ?? 0;
    if ((index < callFoldersKept && bytes <= callBytesKept) || !ended.has(name)) continue;
    const id = CallId.safeParse(name);
    if (id.success && ((await isCommitted(id.data)) ?? old.has(name))) going.push(name);
    if (going.length >= LIMITS.callFoldersKept) break;
  }
  for (let start = 0; start < going.length; start += REMOVED_AT_ONCE) {
    await printed(channel, ["sh", "-c", REMOVE, "perdure", calls, ...going.slice(start, start + REMOVED_AT_ONCE)]);
  }
  return going.length;
}

/** What a program prints, cut where it is too much. */
async function printed(channel: ExecChannel, argv: readonly string[]): Promise<string> {
  const ran = await channel.exec(argv, { signal: AbortSignal.timeout(LIST_MS) });
  const pieces: Uint8Array[] = [];
  let left = LIST_BYTES_MAX;
  for await (const piece of ran.stdout) {
    pieces.push(piece.subarray(0, left));
    left -= piece.length;
    if (left > 0) continue;
    ran.kill();
    break;
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** Of a list that may be long, so many each time, and all of them in the end. */
export function turns(most: number = LIMITS.sandboxesPerTidy): <T>(all: readonly T[]) => readonly T[] {
  let from = 0;
  return (all) => {
    const start = from < all.length ? from : 0;
    from = start + most;
    return all.slice(start, start + most);
  };
}
