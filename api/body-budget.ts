/** What unfinished bodies may take of this process and of its disk, all together and of one caller: reserved before it is taken, given back at every end. */
import { statfs } from "node:fs/promises";
import { Transform } from "node:stream";
import type { Request, Response } from "express";
import { ProblemError } from "../contract/errors.ts";
import { LIMITS } from "../contract/limits.ts";
import { CallerShares, callerOf } from "./caller-shares.ts";
import { EDGE_BOUNDS, type EdgeBounds } from "./edge-bounds.ts";

export interface DiskShare extends Disposable {
  /** How much may come. */
  readonly bytesMax: number;
  /** For a body of unknown length: room for what comes is taken as it comes. Fails with INSUFFICIENT_STORAGE. */
  readonly meter: Transform | undefined;
}

export interface WantedUpload {
  readonly caller: string;
  /** As it was announced. */
  readonly length: number | undefined;
  readonly bytesMax: number;
}

/** What comes lies here first, and then in the workspace as well. */
const COPIES = 2;

export class BodyBudget {
  readonly #folder: string;
  readonly #bounds: EdgeBounds;
  readonly #memory: CallerShares;
  readonly #uploads: CallerShares;
  readonly #disk = new CallerShares(Number.MAX_SAFE_INTEGER);

  /** @param folder On the disk that uploads go to. */
  constructor(folder: string, bounds: EdgeBounds = EDGE_BOUNDS) {
    this.#folder = folder;
    this.#bounds = bounds;
    this.#memory = new CallerShares(bounds.bodiesBytes);
    this.#uploads = new CallerShares(bounds.uploads);
  }

  /** Bytes of bodies that are held now. */
  get held(): number {
    return this.#memory.taken;
  }

  /**
   * Watches a body that is gathered in memory: what is announced is reserved at once, all else as it comes. It is given back
   * with the answer, as whoever answers may hold what came until then. One that would be too much with the others, or that does
   * not come in time, fails by `refuse`, once; whoever reads it need not know.
   */
  watch(request: Request, response: Response, refuse: (problem: ProblemError) => void): void {
    const caller = callerOf(request.socket);
    let held = announced(request);
    let came = 0;
    const giveBack = once(() => {
      clearTimeout(late);
      request.off("data", take);
      this.#memory.giveBack(caller, held);
    });
    const fail = (problem: ProblemError): void => {
      giveBack();
      refuse(problem);
    };
    const take = (chunk: Uint8Array): void => {
      came += chunk.length;
      const more = came - held;
      if (more <= 0) return;
      held = came;
      if (!this.#memory.grow(caller, more)) fail(overloaded("bodies of requests are under way"));
    };
    const { bodyMs } = this.#bounds;
    const late = setTimeout(() => {
      fail(new ProblemError("REQUEST_TIMEOUT", `expected the whole body within ${bodyMs / 1_000} s; send it again`));
    }, bodyMs).unref();
    if (!this.#memory.take(caller, held)) {
      clearTimeout(late);
      refuse(overloaded("bodies of requests are under way"));
      return;
    }
    request.on("data", take);
    request.once("end", () => clearTimeout(late));
    response.once("close", giveBack);
  }

  /** For one upload. Throws OVERLOADED, or INSUFFICIENT_STORAGE when the disk would be too full with what comes already. */
  async upload({ caller, length, bytesMax }: WantedUpload): Promise<DiskShare> {
    if (!this.#uploads.take(caller, 1)) throw overloaded(`${this.#uploads.taken} uploads are under way`);
    let reserved = 0;
    const giveBack = once(() => {
      this.#uploads.giveBack(caller, 1);
      this.#disk.giveBack(caller, reserved);
    });
    const reserve = async (bytes: number, came: number): Promise<void> => {
      const { bavail, bsize } = await statfs(this.#folder);
      const room = bavail * bsize - LIMITS.diskFloorBytes;
      if (!this.#disk.take(caller, bytes * COPIES, room)) throw tooFull(room - this.#disk.taken, length ?? came);
      reserved += bytes * COPIES;
    };
    try {
      await reserve(length ?? 0, 0);
    } catch (error) {
      giveBack();
      throw error;
    }
    return {
      bytesMax: Math.min(bytesMax, length ?? bytesMax),
      meter: length === undefined ? meterOf(reserve) : undefined,
      [Symbol.dispose]: giveBack,
    };
  }
}

/** Takes room in steps, each before the bytes that need it go on. */
function meterOf(reserve: (bytes: number, came: number) => Promise<void>): Transform {
  let came = 0;
  let room = 0;
  return new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      came += chunk.length;
      if (came <= room) return done(null, chunk);
      const step = Math.max(LIMITS.uploadStepBytes, came - room);
      reserve(step, came).then(
        () => {
          room += step;
          done(null, chunk);
        },
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
      );
    },
  });
}

/** One that is compressed may become as large as any. */
function announced({ headers }: Request): number {
  const encoding = headers["content-encoding"]?.toLowerCase() ?? "identity";
  if (encoding !== "identity") return LIMITS.bodyBytesMax;
  return Math.min(Number(headers["content-length"] ?? 0) || 0, LIMITS.bodyBytesMax);
}

function overloaded(what: string): ProblemError {
  return new ProblemError(
    "OVERLOADED",
    `${what}, the most that this process takes at once, or your share of it; try again when some have ended`,
  );
}

function tooFull(free: number, wanted: number): ProblemError {
  const room = Math.max(0, Math.floor(free / COPIES));
  return new ProblemError(
    "INSUFFICIENT_STORAGE",
    `the disk of the state folder has room for ${room} bytes beside what is coming already, and one caller gets a share of it; ` +
      `this is ${wanted} bytes or more. Make room, or send less`,
  );
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
