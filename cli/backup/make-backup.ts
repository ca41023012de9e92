/** `perdure backup`: one consistent file of the embedded state, both databases and every blob, taken while the stack runs or not. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { syncPath } from "../../store/durable-file.ts";
import { makeFolders } from "../../store/folders.ts";
import { identityOf } from "../process-identity.ts";
import { readArchive, writeArchive } from "./backup-archive.ts";
import { BackupError, reasonOf } from "./backup-error.ts";
import { copyDatabase, readStoreCopy } from "./database-copy.ts";
import { type BackupEntry, type BackupManifest, blobName, STORE_NAME, TEMPORAL_NAME } from "./manifest.ts";

/** A session that is deleted between the copy of its rows and the look at its blobs makes us copy again. */
const COPIES_MAX = 4;
const STAGING = "backup-";

export interface BackupRequest {
  readonly stateDir: string;
  /** The file to write; it must not exist. */
  readonly file: string;
  readonly perdure: string;
}

export interface BackupMade {
  readonly manifest: BackupManifest;
  /** Size of the file. */
  readonly bytes: number;
  /** Blobs that rows name and that are not in the state directory: they were lost before. */
  readonly missing: number;
}

/**
 * Writes a backup file and reads it again to verify it. The store is copied first and Temporal's database after it; the
 * two need not agree, because a stack that starts on them brings them together from the store's rows.
 * @throws BackupError; nothing is left then.
 */
export async function makeBackup({ stateDir, file, perdure }: BackupRequest): Promise<BackupMade> {
  const store = path.join(stateDir, STORE_NAME);
  if (!existsSync(store))
    throw new BackupError(
      `there is nothing to back up: ${stateDir} holds no ${STORE_NAME}. Set PERDURE_STATE_DIR to the state directory of your stack`,
    );
  if (existsSync(file)) throw new BackupError(`${file} exists already: choose another name, or remove it first`);
  removeStale(stateDir);
  const staging = path.join(stateDir, `${STAGING}${process.pid}`);
  const partial = `${file}.partial-${process.pid}`;
  try {
    mkdirSync(staging, { mode: 0o700 });
    makeFolders(path.dirname(path.resolve(file)));
    const { manifest, missing } = await stage({ stateDir, staging, perdure });
    await writeArchive(partial, staging, manifest);
    await verifyBackup(partial);
    renameSync(partial, file);
    syncPath(path.dirname(path.resolve(file)));
    return { manifest, missing, bytes: statSync(file).size };
  } catch (error) {
    rmSync(partial, { force: true });
    if (error instanceof BackupError) throw error;
    throw new BackupError(`the backup cannot be written: ${reasonOf(error)}`, { cause: error });
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Reads a whole backup file and checks every entry. @throws BackupError that says what is wrong. */
export async function verifyBackup(file: string): Promise<BackupManifest> {
  return await readArchive(file, async (_entry, body) => {
    for await (const _ of body);
  });
}

interface Staging {
  readonly stateDir: string;
  readonly staging: string;
  readonly perdure: string;
}

/** Gathers everything in one folder, where nobody changes it any more: copies of the databases, links to the blobs. */
async function stage({ stateDir, staging, perdure }: Staging): Promise<{ manifest: BackupManifest; missing: number }> {
  const store = path.join(staging, STORE_NAME);
  let madeAt = Date.now();
  let { sessions, blobs, missing } = { sessions: 0, blobs: [] as BackupEntry[], missing: 0 };
  for (let copies = 1; copies <= COPIES_MAX; copies++) {
    madeAt = Date.now();
    await copyDatabase(path.join(stateDir, STORE_NAME), store);
    const found = readStoreCopy(store);
    blobs = found.blobs.flatMap((sha256) => linkBlob(stateDir, staging, sha256) ?? []);
    sessions = found.sessions;
    missing = found.blobs.length - blobs.length;
    if (missing === 0) break;
  }
  const databases = [await entryOf(staging, STORE_NAME)];
  const temporal = path.join(stateDir, TEMPORAL_NAME);
  if (existsSync(temporal)) {
    await copyDatabase(temporal, path.join(staging, TEMPORAL_NAME));
    databases.push(await entryOf(staging, TEMPORAL_NAME));
  }
  const entries = [...databases, ...blobs];
  return { manifest: { format: 1, perdure, madeAt, sessions, entries }, missing };
}

/** A blob's name is its digest, and the file is checked against it when the backup is verified. */
function linkBlob(stateDir: string, staging: string, sha256: string): BackupEntry | undefined {
  const name = blobName(sha256);
  const target = path.join(staging, name);
  try {
    if (!existsSync(target)) {
      mkdirSync(path.dirname(target), { recursive: true });
      linkSync(path.join(stateDir, name), target);
    }
    return { name, sha256, bytes: statSync(target).size };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

async function entryOf(staging: string, name: typeof STORE_NAME | typeof TEMPORAL_NAME): Promise<BackupEntry> {
  const file = path.join(staging, name);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return { name, bytes: statSync(file).size, sha256: hash.digest("hex") };
}

/** What a killed `perdure backup` left. */
function removeStale(stateDir: string): void {
  for (const name of readdirSync(stateDir)) {
    const pid = name.startsWith(STAGING) ? Number(name.slice(STAGING.length)) : Number.NaN;
    if (!Number.isInteger(pid) || (pid !== process.pid && identityOf(pid) !== undefined)) continue;
    rmSync(path.join(stateDir, name), { recursive: true, force: true });
  }
}
