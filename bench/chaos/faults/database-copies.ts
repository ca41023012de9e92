/** Copies of both databases as they were, for the time that a power cut or a restore takes back. */
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { copyDatabase } from "../../../cli/backup/database-copy.ts";

export type DatabaseName = "store" | "temporal";

interface Copy {
  readonly at: number;
  readonly file: string;
}

/** Of each kind; the oldest go. */
const KEPT = 6;

export class DatabaseCopies {
  readonly #folder: string;
  readonly #files: Readonly<Record<DatabaseName, string>>;
  readonly #ring: Record<DatabaseName, Copy[]> = { store: [], temporal: [] };
  #number = 0;

  constructor(folder: string, files: Readonly<Record<DatabaseName, string>>) {
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#files = files;
  }

  /** A copy that `put` can use later. */
  async take(name: DatabaseName): Promise<string> {
    const file = path.join(this.#folder, `${name}-${this.#number++}.db`);
    await copyDatabase(this.#files[name], file);
    return file;
  }

  /** Takes one of each into the ring that `ageOf` chooses from. */
  async keep(): Promise<void> {
    for (const name of ["store", "temporal"] as const) {
      const at = Date.now();
      this.#ring[name].push({ at, file: await this.take(name) });
      for (const old of this.#ring[name].splice(0, this.#ring[name].length - KEPT)) rmSync(old.file, { force: true });
    }
  }

  /** The youngest kept copy that is at least so old, else the oldest there is. */
  ofAge(name: DatabaseName, ageMs: number): string | undefined {
    const ring = this.#ring[name];
    return (ring.findLast(({ at }) => at <= Date.now() - ageMs) ?? ring[0])?.file;
  }

  /** In the place of the database, which nobody may have open. */
  put(name: DatabaseName, copy: string): void {
    const target = this.#files[name];
    for (const suffix of ["-wal", "-shm", ""]) rmSync(target + suffix, { force: true });
    if (existsSync(copy)) copyFileSync(copy, target);
  }
}
