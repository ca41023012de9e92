/** Bytes from one stream to another, whatever state the two are in. */
import { pipeline, type Readable, type Writable } from "node:stream";

/** As `pipeline`, but for one that is closed already, which that throws: here it is told like every other failure. */
export function passOn(from: Readable, to: Writable, done: (error: Error | undefined) => void): void {
  try {
    pipeline(from, to, (error) => done(error ?? undefined));
  } catch (thrown) {
    done(thrown instanceof Error ? thrown : new Error("it is closed"));
  }
}
