/** Archives as a stranger may make them: what no packer of ours would write is put into their bytes afterwards. */
import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { packTar, type TarHeader } from "modern-tar";
import { ZipFile } from "yazl";

export interface ArchivedFile {
  readonly name: string;
  readonly content?: string | Buffer;
  readonly mode?: number;
  /** Without compression: its content stands in the zip as it is. */
  readonly stored?: boolean;
}

/** A zip. Texts of the same length take each other's place afterwards, so that hostile ones get in. */
export async function aZip(
  files: readonly ArchivedFile[],
  instead: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  const zip = new ZipFile();
  const chunks: Buffer[] = [];
  zip.outputStream.on("data", (chunk: Buffer) => chunks.push(chunk));
  for (const { name, content = "", mode, stored = false } of files) {
    if (name.endsWith("/")) zip.addEmptyDirectory(name);
    else zip.addBuffer(Buffer.from(content), name, { compress: !stored, ...(mode !== undefined && { mode }) });
  }
  zip.end();
  await once(zip.outputStream, "end");
  const whole = Buffer.concat(chunks);
  for (const [name, other] of Object.entries(instead)) replaceAll(whole, Buffer.from(name), Buffer.from(other));
  return whole;
}

function replaceAll(whole: Buffer, from: Buffer, to: Buffer): void {
  if (from.length !== to.length) throw new Error("expected two texts of one length");
  for (let at = whole.indexOf(from); at !== -1; at = whole.indexOf(from, at + to.length)) to.copy(whole, at);
}

export async function aTar(entries: readonly (Partial<TarHeader> & { name: string; content?: string | Buffer })[]) {
  const packed = await packTar(
    entries.map(({ content = "", ...header }) => ({
      header: { ...header, size: Buffer.byteLength(content) },
      body: new Uint8Array(Buffer.from(content)),
    })),
  );
  return Buffer.from(packed);
}

export async function aTarGz(entries: Parameters<typeof aTar>[0]): Promise<Buffer> {
  return gzipSync(await aTar(entries));
}
