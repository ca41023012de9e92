/**
 * Takes a snapshot of a workspace: what changed since the newest one is stored, then one transaction names it.
 *
 * It may be killed between any two lines: the older snapshots stay whole, and what was stored in vain is swept.
 */
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { SandboxId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { removeStrayBlobs } from "../store/artifacts.ts";
import { StoreError } from "../store/error.ts";
import { readManifest, type SnapshotEntry, type SnapshotFile, storeManifest } from "../store/snapshot-manifest.ts";
import { type ContentPlaces, SnapshotContents, type StoredContent } from "../store/snapshot-packs.ts";
import {
  type NewSnapshot,
  newestSnapshot,
  recordSnapshot,
  refreshSnapshot,
  type SnapshotRecord,
  type SnapshotStore,
  snapshotSandbox,
} from "../store/snapshots.ts";
import { type WorkerSecrets, withoutSecrets } from "./secret-choice.ts";
import { snapshotSkips } from "./snapshot-excludes.ts";
import { differenceOf, planSnapshot, readEntry, type SnapshotPlan } from "./snapshot-plan.ts";
import { repack } from "./snapshot-repack.ts";
import { type FoundFile, readFiles } from "./snapshot-source.ts";

export interface SnapshotDeps {
  /** Taken out of names that are told. Default: none. */
  readonly secrets?: WorkerSecrets;
  readonly store: SnapshotStore;
}

export interface SnapshotWork {
  readonly sessionId: SessionId;
  readonly sandbox: Pick<Sandbox, "scan" | "pack" | "openFile" | "stat">;
  readonly generation: number;
  /** Of what is looked at: an earlier session of this id may have had one of the same generation. */
  readonly sandboxId?: SandboxId;
  readonly turnId?: TurnId | undefined;
}

export interface SnapshotTaken extends SnapshotRecord {
  /** Files that may not be read, and are therefore not in it; the first of them by name. */
  readonly unreadable: { readonly count: number; readonly names: readonly string[] };
  readonly durationMs: number;
}

/** Between two tries: of several that overtake each other, each gets its turn. */
const PAUSE_MS = { first: 20, max: 200 };
/** When most of a workspace has gone, it is looked at again after so long. */
const GOING_MS = 200;

/**
 * Undefined: nothing has changed since the newest snapshot. Throws SandboxError `lost`, `too_large` (more files or bytes than are
 * kept) and `failed`; StoreError, also when others overtake it again and again; SupersededError when that generation is not the
 * session's newest any more.
 */
export async function takeSnapshot(deps: SnapshotDeps, work: SnapshotWork): Promise<SnapshotTaken | undefined> {
  const startedAt = Date.now();
  let trustsBase = true;
  for (let tries = 0; tries < LIMITS.snapshotAttempts; tries++) {
    const base = await newestSnapshot(deps.store.database, work.sessionId);
    try {
      const done = await tryOnce(deps, work, { base, trustsBase, startedAt });
      if (done !== "overtaken") return done.taken;
      await delay(Math.random() * Math.min(PAUSE_MS.first * 2 ** tries, PAUSE_MS.max));
    } catch (error) {
      // What the newest one is made of is damaged, or just went with it: then all is stored anew.
      if (!(error instanceof StoreError && error.kind === "corrupt" && base && trustsBase)) throw error;
      trustsBase = false;
    }
  }
  throw new StoreError(
    "failed",
    "others were always faster to take a snapshot of this workspace; it is as they took it",
  );
}

interface Try {
  readonly base: SnapshotRecord | undefined;
  readonly trustsBase: boolean;
  readonly startedAt: number;
}

async function tryOnce(
  { store, secrets }: SnapshotDeps,
  work: SnapshotWork,
  { base, trustsBase, startedAt }: Try,
): Promise<"overtaken" | { readonly taken: SnapshotTaken | undefined }> {
  const { sessionId, sandbox, generation } = work;
  const { spec } = await snapshotSandbox(store.database.read, sessionId, work);
  const before = base && trustsBase ? await readManifest(store.blobs, base.manifest) : NOTHING;
  const known = new Map(before.entries.map((entry) => [entry.path, entry]));
  const scannedAt = Date.now();
  const skip = snapshotSkips(spec.snapshotExcludes);
  const scanned = checkedSize(await sandbox.scan({ skip, max: LIMITS.snapshotFilesMax }));
  const plan = await planSnapshot(scanned, base?.generation === generation ? known : new Map());

  const told = (name: string): string => withoutSecrets(secrets, name);
  const contents = new SnapshotContents(store.blobs, placesOf(before.entries));
  const strays: string[] = [];
  try {
    const { files, unreadable } = await readChanged(sandbox, plan, { contents, scannedAt });
    let entries = plan.entries.flatMap((entry) => (entry.kind === "unread" ? (files.get(entry.path) ?? []) : [entry]));
    if (!base && entries.length === 0) return { taken: undefined }; // Nothing was ever there, and nothing is.
    const difference = base && trustsBase ? await differenceOf(known, entries) : "content";
    if (difference === "none") return { taken: undefined };
    await contents.finish();
    if (await isGoing(sandbox, { known, scanned, skip })) return "overtaken";
    if (difference === "content") entries = await repack(store.blobs, { entries, sizes: before.blobs, contents });

    const named = { count: unreadable.length, names: unreadable.slice(0, LIMITS.snapshotUnreadableNamed).map(told) };
    const of = { work, base, startedAt, asOf: scannedAt, unreadable: named };
    const made = await manifestOf(store, { ...of, entries, before: before.blobs, contents });
    strays.push(made.manifest.sha256);
    if (difference === "looks") return (await refreshSnapshot(store, made)) ? { taken: undefined } : "overtaken";
    const record = await recordSnapshot(store, made);
    if (!record) return "overtaken";
    return { taken: { ...record, unreadable: named, durationMs: Date.now() - startedAt } };
  } finally {
    await removeStrayBlobs(store.database, store.blobs, [...(await contents.settled()), ...strays]);
  }
}

/**
 * Whether the workspace is just being taken away with its sandbox, file by file: what a killer has not come to yet must not
 * become the newest snapshot. Files that commands remove are gone, and what is left stays. Throws SandboxError `lost`.
 */
async function isGoing(
  sandbox: SnapshotWork["sandbox"],
  seen: {
    readonly known: ReadonlyMap<string, SnapshotEntry>;
    readonly scanned: readonly { readonly path: string }[];
    readonly skip: (path: string) => boolean;
  },
): Promise<boolean> {
  const paths = new Set(seen.scanned.map((entry) => entry.path));
  const gone = [...seen.known.keys()].filter((name) => !paths.has(name)).length;
  if (gone === 0) return false;
  const isMost = gone > seen.known.size / 2;
  if (isMost) await delay(GOING_MS);
  if (!(await sandbox.stat("."))) throw new SandboxError("lost", "the sandbox's workspace is gone");
  if (!isMost) return false;
  return (await sandbox.scan({ skip: seen.skip, max: LIMITS.snapshotFilesMax })).length < seen.scanned.length;
}

const NOTHING = { entries: [], blobs: new Map<string, number>() } as const;

function checkedSize<T extends { readonly bytes: number }>(scanned: readonly T[]): readonly T[] {
  const bytes = scanned.reduce((sum, entry) => sum + entry.bytes, 0);
  if (bytes <= LIMITS.snapshotBytesMax) return scanned;
  const message = `the workspace holds ${bytes} bytes, and a snapshot at most ${LIMITS.snapshotBytesMax}; exclude something by sandbox.snapshotExcludes`;
  throw new SandboxError("too_large", message);
}

function placesOf(entries: readonly SnapshotEntry[]): ContentPlaces {
  const places: ContentPlaces = new Map();
  for (const entry of entries) {
    if (entry.kind === "file" && entry.content !== undefined) places.set(entry.sha256, entry.content);
  }
  return places;
}

async function readChanged(
  sandbox: Pick<Sandbox, "pack" | "openFile">,
  { toRead }: SnapshotPlan,
  to: { readonly contents: SnapshotContents; readonly scannedAt: number },
): Promise<{ readonly files: ReadonlyMap<string, SnapshotFile>; readonly unreadable: readonly string[] }> {
  const files = new Map<string, SnapshotFile>();
  const unreadable = await readFiles(sandbox, [...toRead.keys()], async (file) => {
    const scanned = toRead.get(file.path);
    const original = file.sameAs === undefined ? undefined : files.get(file.sameAs);
    if (scanned === undefined || (file.sameAs !== undefined && original === undefined)) return;
    const stored = original ?? placed(await storeFile(to.contents, file));
    const { bytes, sha256, content } = stored;
    files.set(file.path, readEntry(scanned, { bytes, sha256, content }, to.scannedAt));
  });
  return { files, unreadable };
}

function placed({ place, ...stored }: StoredContent): Pick<SnapshotFile, "bytes" | "sha256" | "content"> {
  return { ...stored, content: place };
}

/** How large a file is, its bytes tell and nothing else: it may grow while it is read. */
async function storeFile(contents: SnapshotContents, { content }: FoundFile): Promise<StoredContent> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const source = content[Symbol.asyncIterator]();
  for (let next = await source.next(); !next.done; next = await source.next()) {
    chunks.push(next.value);
    bytes += next.value.length;
    if (bytes >= LIMITS.snapshotLargeBytes) return await contents.addLarge(Readable.from(rejoined(chunks, source)));
  }
  return await contents.addSmall(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
}

async function* rejoined(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* head;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

async function manifestOf(
  store: SnapshotStore,
  of: {
    readonly work: SnapshotWork;
    readonly base: SnapshotRecord | undefined;
    readonly startedAt: number;
    readonly asOf: number;
    readonly unreadable: SnapshotTaken["unreadable"];
    readonly entries: readonly SnapshotEntry[];
    readonly before: ReadonlyMap<string, number>;
    readonly contents: SnapshotContents;
  },
): Promise<NewSnapshot> {
  const { work, base, startedAt, asOf, unreadable, entries, before, contents } = of;
  const blobs = new Map<string, number>();
  let [files, bytes] = [0, 0];
  for (const entry of entries) {
    if (entry.kind !== "folder") files++;
    if (entry.kind !== "file") continue;
    bytes += entry.bytes;
    const blob = entry.content?.blob;
    if (blob !== undefined) blobs.set(blob, contents.fresh.get(blob) ?? before.get(blob) ?? 0);
  }
  const manifest = await storeManifest(store.blobs, { entries, blobs });
  const fresh = new Set([...contents.fresh.keys()].filter((sha256) => blobs.has(sha256)));
  const { sessionId, sandboxId, generation, turnId } = work;
  return {
    sessionId,
    sandboxId,
    generation,
    turnId,
    base,
    manifest,
    contents: blobs,
    fresh,
    files,
    bytes,
    startedAt,
    asOf,
    unreadable,
  };
}
