/** Workspaces in folders, a store to keep their snapshots in, and trees to compare them by. */
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { restoreSnapshot } from "../../activities/snapshot-restore.ts";
import { type SnapshotTaken, takeSnapshot } from "../../activities/snapshot-take.ts";
import { newId, type SessionId, type SnapshotId } from "../../contract/ids.ts";
import type { SandboxSpec } from "../../contract/sandbox.ts";
import { createSandboxFiles, type SandboxFiles } from "../../sandbox/files.ts";
import { beginSandbox } from "../../store/sandboxes.ts";
import { aSession, type TemporaryStore, temporaryStore } from "../store/store-builder.ts";

export interface Workspace {
  /** A real path. */
  readonly folder: string;
  readonly files: SandboxFiles;
}

export function folderWorkspace(root: string): Workspace {
  for (const name of ["workspace", "calls", "tmp"]) mkdirSync(path.join(root, name), { recursive: true });
  const real = realpathSync(root);
  const folder = path.join(real, "workspace");
  const files = createSandboxFiles({
    workspace: folder,
    calls: path.join(real, "calls"),
    temporary: path.join(real, "tmp"),
  });
  return { folder, files };
}

export interface Kept extends AsyncDisposable {
  readonly store: TemporaryStore;
  readonly sessionId: SessionId;
  readonly workspace: Workspace;
  /** Of the workspace, or of another one that stands for it. */
  take(sandbox?: Partial<SandboxFiles>): Promise<SnapshotTaken | undefined>;
  /** A new generation, restored from a snapshot. */
  restore(snapshotId: SnapshotId): Promise<Workspace>;
  /** Takes the restored workspace for the session's from here on. */
  goOn(workspace: Workspace): void;
}

/** A session with a sandbox; another one of the same store when it is given. */
export async function aKeptWorkspace(spec: SandboxSpec = {}, given?: TemporaryStore): Promise<Kept> {
  const store = given ?? (await temporaryStore());
  const sessionId = await aSession(store.database, { id: newId("ses") });
  let generation = 0;
  const next = async (): Promise<Workspace> => {
    generation++;
    const wanted = { provider: "local" as const, host: "h", generation, spec, restoredFrom: null };
    await beginSandbox(store.database, sessionId, wanted);
    return folderWorkspace(path.join(store.folder, "sandboxes", `${sessionId}-${generation}`));
  };
  let workspace = await next();
  return {
    store,
    sessionId,
    get workspace() {
      return workspace;
    },
    take: (sandbox) => takeSnapshot({ store }, { sessionId, sandbox: { ...workspace.files, ...sandbox }, generation }),
    restore: async (snapshotId) => {
      const restored = await next();
      await restoreSnapshot({ store }, { snapshotId, sandbox: restored.files });
      return restored;
    },
    goOn: (restored) => {
      workspace = restored;
    },
    [Symbol.asyncDispose]: async () => {
      if (given) return;
      await store[Symbol.asyncDispose]();
      rmSync(store.folder, { recursive: true, force: true });
    },
  };
}

/** Writes a file of the workspace, and the folders that it lies in. */
export function write(kept: Kept, name: string, content: string | Uint8Array): string {
  const file = path.join(kept.workspace.folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

/** Every name below a folder with all that a restore must give back, in words. */
export function treeOf(folder: string): Record<string, string> {
  return Object.fromEntries(pathsBelow(folder).map((file) => [path.relative(folder, file), looksOf(file)]));
}

/** Everything below a folder. Not by Node's `recursive`, which follows symlinks. */
export function pathsBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    return entry.isDirectory() ? [file, ...pathsBelow(file)] : [file];
  });
}

function looksOf(file: string): string {
  const stats = lstatSync(file);
  const seconds = Math.floor(stats.mtimeMs / 1_000);
  const mode = (stats.mode & 0o7777).toString(8);
  if (stats.isSymbolicLink()) return `-> ${readlinkSync(file)} at ${seconds}`;
  return stats.isDirectory()
    ? `folder ${mode}`
    : `${mode} at ${seconds}: ${createHash("sha256").update(readFileSync(file)).digest("hex")}`;
}

/** The blobs that are on the disk. */
export function blobsOf(store: TemporaryStore): readonly string[] {
  return readdirSync(path.join(store.folder, "blobs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
    .map(({ name }) => name)
    .sort();
}

/** The blobs that rows of snapshots name, each with its session's. */
export async function namedBlobs({ database }: TemporaryStore): Promise<readonly string[]> {
  const rows = await database.read.selectFrom("snapshot_blobs").select("sha256").distinct().execute();
  return rows.map(({ sha256 }) => sha256).sort();
}
