/** What stays free of the disk, whatever bytes come: a database that cannot be written stops everybody, a file only who sends it. */
import { statfs } from "node:fs/promises";
import { LIMITS } from "../contract/limits.ts";
import { StoreError } from "./error.ts";

/** A small disk has a small floor. */
const PART = 0.05;

export class DiskFloor {
  readonly #folder: string;
  /** Of all writers of this process. */
  #unchecked: number = LIMITS.diskLookBytes;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** To be called before so many bytes are written; looks once in a while. Throws StoreError `full`. */
  async take(bytes: number): Promise<void> {
    this.#unchecked += bytes;
    if (this.#unchecked < LIMITS.diskLookBytes) return;
    const { bavail, blocks, bsize } = await statfs(this.#folder);
    const floor = Math.min(LIMITS.diskFloorBytes, blocks * bsize * PART);
    if (bavail * bsize < floor + bytes) {
      // So that the next one looks as well.
      this.#unchecked = LIMITS.diskLookBytes;
      throw new StoreError(
        "full",
        `the disk of the state folder has less than ${Math.floor(floor)} bytes left; make room`,
      );
    }
    this.#unchecked = 0;
  }
}
