/** Tar as streams of Node: its entries one after another, and a tar made of entries. */
import { Readable } from "node:stream";
import { createTarDecoder, createTarPacker, type TarHeader } from "modern-tar";
import { archiveTime } from "../sandbox/archive-time.ts";
import { bytesOf } from "../sandbox/web-bytes.ts";

export interface TarEntry {
  readonly header: TarHeader;
  /** Read to its end, or not at all, before the next entry is asked for. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** The entries of a tar, in order. Throws what the stream throws, and Error for what is no tar. */
export async function* tarEntries(tar: Readable): AsyncGenerator<TarEntry, void, void> {
  const entries = bytesOf(tar).pipeThrough(createTarDecoder({ strict: true }));
  for await (const { header, body } of entries) {
    let isRead = false;
    const once = async function* (): AsyncGenerator<Uint8Array, void, void> {
      isRead = true;
      yield* body;
    };
    yield { header, body: once() };
    if (!isRead) await body.cancel();
  }
}

/** A tar of what is yielded. A body must have as many bytes as its header says. */
export function toTar(entries: AsyncIterable<TarEntry>): Readable {
  const { readable, controller } = createTarPacker();
  const addAll = async (): Promise<void> => {
    for await (const { header, body } of entries) {
      const time = header.mtime && { mtime: archiveTime("tar", header.mtime) };
      const writer = controller.add({ ...header, ...time }).getWriter();
      for await (const chunk of body) await writer.write(chunk);
      await writer.close();
    }
    controller.finalize();
  };
  addAll().catch((error: unknown) => controller.error(error));
  return Readable.fromWeb(readable);
}

/** The body of what has none. */
export async function* noBody(): AsyncGenerator<Uint8Array, void, void> {}
