/** Writing to a connection no faster than it takes the bytes. */
import type { Writable } from "node:stream";
import { SandboxError } from "../provider.ts";

/** Resolves when more may be written. Throws SandboxError `failed` when the connection is gone. */
export async function writeAll(stream: Writable, bytes: Uint8Array): Promise<void> {
  if (stream.destroyed || stream.writableEnded) throw new SandboxError("failed", "the connection is gone");
  if (stream.write(bytes)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (): void => {
      stream.off("drain", settle);
      stream.off("close", settle);
      if (stream.destroyed) reject(new SandboxError("failed", "the connection is gone"));
      else resolve();
    };
    stream.on("drain", settle);
    stream.on("close", settle);
  });
}
