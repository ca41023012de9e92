/** Listing and scanning the workspace of a remote sandbox: what its `find` prints, read piece by piece and not believed. */
import { nameOfText } from "../file-names.ts";
import { isTooDeep } from "../host-folders.ts";
import type { FileEntry, Sandbox, ScannedEntry } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import { FindOutput, type FoundEntry } from "./find-output.ts";
import { absoluteInside, pathWords, type RemoteFolders, words } from "./remote-paths.ts";
import { toSandboxError } from "./request-errors.ts";
import type { Shells } from "./shells.ts";

export type RemoteListings = Pick<Sandbox, "listFiles" | "scan">;

/** Entries that one listing looks at before it sorts them; the rest of a larger tree is not listed. */
const LISTED_MAX = 200_000;
/** How many times as many entries as are wanted a scan looks at, what is skipped included. */
const SCANNED_TIMES = 10;
const DEPTH_MAX = 4_096;
/** Folders at the top that are left out inside the sandbox; those below are read and left out here. */
const PRUNED_MAX = 500;

export function createRemoteListings(shells: Shells, { workspace }: RemoteFolders): RemoteListings {
  const find = (given: string, depth: number, pruned: readonly string[] = []): AsyncGenerator<FoundEntry> =>
    foundBelow(shells, {
      given,
      line: `find_below ${pathWords(absoluteInside(workspace, given))} ${words(depth, ...pruned)}`,
    });
  return {
    async listFiles(given, { depth, max }) {
      const base = absoluteInside(workspace, given).slice(workspace.length + 1);
      const entries: FileEntry[] = [];
      for await (const entry of find(given, Math.max(0, Math.min(depth, DEPTH_MAX)))) {
        const { kind, bytes, modifiedAt, name } = entry;
        entries.push({ path: base === "" ? name : `${base}/${name}`, kind, bytes, modifiedAt: Math.round(modifiedAt) });
        if (entries.length >= LISTED_MAX) break;
      }
      return sortedByFolder(entries).slice(0, max);
    },
    async scan({ skip, max }) {
      const tops: FoundEntry[] = [];
      for await (const entry of find(".", 1)) {
        tops.push(entry);
        if (tops.length > SCANNED_TIMES * max) throw tooMany(max);
      }
      const left = tops.filter((top) => top.kind === "folder" && skip(`${top.name}/`)).map(({ name }) => name);
      // A pattern of find, in which these stand for themselves.
      const pruned = left
        .slice(0, PRUNED_MAX)
        .filter((name) => nameOfText(name) === name)
        .map((name) => name.replace(/[\\*?[\]]/g, "\\$&"));
      return kept(find(".", DEPTH_MAX, pruned), { skip, max });
    },
  };
}

async function kept(
  entries: AsyncIterable<FoundEntry>,
  { skip, max }: { readonly skip: (path: string) => boolean; readonly max: number },
): Promise<readonly ScannedEntry[]> {
  const skipped = new Set<string>();
  const scanned: ScannedEntry[] = [];
  let seen = 0;
  for await (const { kind, name, bytes, mode, modifiedAt, version, target } of entries) {
    seen += 1;
    if (seen > SCANNED_TIMES * max) throw tooMany(max);
    if (kind === "other" || isTooDeep(name)) continue;
    const isFolder = kind === "folder";
    if (skipped.has(name.slice(0, Math.max(0, name.lastIndexOf("/")))) || skip(isFolder ? `${name}/` : name)) {
      if (isFolder) skipped.add(name);
      continue;
    }
    if (scanned.length >= max) throw tooMany(max);
    const size = kind === "file" ? bytes : 0;
    scanned.push({ path: name, kind, bytes: size, mode, modifiedAt, version, ...(kind === "symlink" && { target }) });
  }
  return sortedByFolder(scanned);
}

async function* foundBelow(
  shells: Shells,
  { given, line }: { readonly given: string; readonly line: string },
): AsyncGenerator<FoundEntry, void, void> {
  const shell = await shells.take();
  try {
    const answer = shell.request(line);
    const output = new FindOutput();
    while (true) {
      const next = await answer.next();
      if (next.done !== true) {
        yield* output.take(next.value);
        continue;
      }
      if (next.value !== 0) throw toSandboxError({ status: next.value, output: output.begun }, given);
      yield* output.finish();
      return;
    }
  } catch (thrown) {
    throw thrown instanceof SandboxError ? thrown : await shells.whyEnded();
  } finally {
    shells.giveBackOrClose(shell);
  }
}

/** Depth-first, the entries of each folder by name: as one would walk them. */
function sortedByFolder<E extends { readonly path: string }>(entries: readonly E[]): readonly E[] {
  const keyed = entries.map((entry) => ({ entry, names: entry.path.split("/") }));
  keyed.sort((a, b) => {
    const shared = Math.min(a.names.length, b.names.length);
    for (let i = 0; i < shared; i++) {
      const [one = "", other = ""] = [a.names[i], b.names[i]];
      if (one !== other) return one < other ? -1 : 1;
    }
    return a.names.length - b.names.length;
  });
  return keyed.map(({ entry }) => entry);
}

function tooMany(max: number): SandboxError {
  return new SandboxError("too_large", `the workspace has more than ${max} files`);
}
