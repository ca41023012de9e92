/** What unfinished bodies may take of this process and of its disk, all together: reserved before it is taken, given back at every end. */
import { statfs } from "node:fs/promises";
import type { Request } from "express";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";

export interface DiskShare extends Disposable {
  /** How much may come. */
  readonly bytesMax: number;
}

export class BodyBudget {
  readonly #folder: string;
  #memory = 0;
  #uploads = 0;
  #reserved = 0;

  /** @param folder On the disk that uploads go to. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Watches a body that is gathered in memory: what is announced is reserved at once, all else as it comes. One that would be
   * too much with the others, or that does not come in time, fails by `refuse`, once; whoever reads it need not know.
   */
  watch(request: Request, refuse: (problem: ProblemError) => void): void {
    let held = Math.min(Number(request.headers["content-length"] ?? 0) || 0, LIMITS.bodyBytesMax);
    let came = 0;
    const end = (): void => {
      clearTimeout(late);
      this.#memory -= held;
      held = 0;
      request.off("data", take);
    };
    const fail = (problem: ProblemError): void => {
      end();
      refuse(problem);
    };
    const take = (chunk: Uint8Array): void => {
      came += chunk.length;
      if (came <= held) return;
      this.#memory += came - held;
      held = came;
      if (this.#memory > LIMITS.bodiesBytesMax) fail(overloaded("bodies of requests are under way"));
    };
    const late = setTimeout(() => {
      fail(new ProblemError("REQUEST_TIMEOUT", `expected the whole body within ${LIMITS.bodyMs / 1_000} s`));
    }, LIMITS.bodyMs).unref();
    this.#memory += held;
    if (this.#memory > LIMITS.bodiesBytesMax) {
      fail(overloaded("bodies of requests are under way"));
      return;
    }
    request.on("data", take);
    request.once("end", end);
    request.once("close", end);
  }

  /** For one upload. Throws OVERLOADED, or INSUFFICIENT_STORAGE when the disk would be too full with what comes already. */
  async upload(length: number | undefined, bytesMax: number): Promise<DiskShare> {
    if (this.#uploads >= LIMITS.uploadsMax) throw overloaded(`${this.#uploads} uploads are under way`);
    this.#uploads += 1;
    let bytes = 0;
    try {
      const { bavail, bsize } = await statfs(this.#folder);
      // It lies here first, and then in the workspace as well.
      const room = Math.floor((bavail * bsize - LIMITS.diskFloorBytes - this.#reserved) / 2);
      const wanted = length ?? Math.min(bytesMax, Math.max(room, 1));
      if (wanted > room) {
        throw new ProblemError(
          "INSUFFICIENT_STORAGE",
          `expected at most ${Math.max(room, 0)} bytes, which is what the disk of the state folder has room for ` +
            `beside what is coming already; this is ${length ?? "of unknown length"}. Make room, or send less`,
        );
      }
      bytes = wanted * 2;
      this.#reserved += bytes;
      return { bytesMax: Math.min(bytesMax, wanted), [Symbol.dispose]: once(() => this.#giveBack(bytes)) };
    } catch (error) {
      this.#giveBack(bytes);
      throw error;
    }
  }

  #giveBack(bytes: number): void {
    this.#uploads -= 1;
    this.#reserved -= bytes;
  }
}

function overloaded(what: string): ProblemError {
  return new ProblemError("OVERLOADED", `${what}, the most this process takes at once; try again`);
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
