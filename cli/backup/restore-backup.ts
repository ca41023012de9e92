/** `perdure restore`: puts a backup in the place of the embedded state. What was there is moved aside, never removed. */
import { createWriteStream, existsSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { openDatabase } from "../../store/database.ts";
import { StateDirectory } from "../state-directory.ts";
import { readArchive } from "./backup-archive.ts";
import { BackupError, reasonOf } from "./backup-error.ts";
import { checkDatabase } from "./database-copy.ts";
import { type BackupManifest, STORE_NAME, TEMPORAL_NAME } from "./manifest.ts";
import { finishRestore, markReady, RESTORING } from "./restore-placement.ts";

export interface RestoreRequest {
  readonly stateDir: string;
  readonly file: string;
}

export interface Restored {
  readonly manifest: BackupManifest;
  /** Where the state that was there before is now; undefined when there was none. */
  readonly aside: string | undefined;
}

/**
 * Unpacks and verifies the whole file beside the state first, and only then changes names. A kill at any instant leaves
 * the state as it was, or a change of names that the next start or restore completes.
 * @throws StackError `held` while a stack runs on the state directory, BackupError when the file cannot be used.
 */
export async function restoreBackup({ stateDir, file }: RestoreRequest): Promise<Restored> {
  if (!existsSync(file)) throw new BackupError(`${file} does not exist`);
  const state = StateDirectory.claim(stateDir);
  const folder = path.join(stateDir, RESTORING);
  try {
    if (state.orphans.length > 0)
      throw new BackupError(
        `processes of a killed stack still run on ${stateDir} (pid ${state.orphans.map(({ pid }) => pid).join(", ")}): start it and stop it with Ctrl-C, or stop them, then restore`,
      );
    finishRestore(stateDir);
    const manifest = await unpack(file, folder);
    await checkUnpacked(file, folder);
    markReady(folder);
    return { manifest, aside: finishRestore(stateDir) };
  } catch (error) {
    if (error instanceof Error && "syscall" in error)
      throw new BackupError(`the backup cannot be restored: ${reasonOf(error)}`, { cause: error });
    throw error;
  } finally {
    state.release();
  }
}

async function unpack(file: string, folder: string): Promise<BackupManifest> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  return await readArchive(file, async ({ name }, body) => {
    const place = path.join(folder, name);
    mkdirSync(path.dirname(place), { recursive: true, mode: 0o700 });
    await pipeline(Readable.from(body), createWriteStream(place, { flags: "wx", mode: 0o600, flush: true }));
  });
}

/** Opens the databases once, so that one that this version cannot use is refused before anything is replaced. */
async function checkUnpacked(file: string, folder: string): Promise<void> {
  const store = path.join(folder, STORE_NAME);
  if (!existsSync(store)) throw new BackupError(`${file} is not a backup of Perdure: it holds no ${STORE_NAME}`);
  checkDatabase(store);
  if (existsSync(path.join(folder, TEMPORAL_NAME))) checkDatabase(path.join(folder, TEMPORAL_NAME));
  try {
    await (await openDatabase(store)).close();
  } catch (error) {
    throw new BackupError(`the store in ${file} cannot be used: ${reasonOf(error)}`, { cause: error });
  }
}
