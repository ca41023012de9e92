/** Gets the `temporal` binary from Temporal's official download, the way Temporal's own SDK does. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";

const PLATFORMS = { linux: "linux", darwin: "darwin" };
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };
const ASK_TIMEOUT_MS = 15_000;
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;
const BLOCK = 512;

/**
 * @param {{ version: string, target: string, base: string, onProgress: (text: string) => void }} options
 * @returns {Promise<void>}
 */
export async function downloadTemporal({ version, target, base, onProgress }) {
  const platform = PLATFORMS[process.platform];
  const architecture = ARCHITECTURES[process.arch];
  if (!platform || !architecture) throw new Error(`there is no official build for ${process.platform}/${process.arch}`);
  const question = `${base}/cli/v${version}?arch=${architecture}&platform=${platform}&format=tar.gz`;
  const { archiveUrl, fileToExtract } = await (await get(question, ASK_TIMEOUT_MS)).json();
  if (!archiveUrl || !fileToExtract) throw new Error(`unexpected answer of ${question}`);
  onProgress(`downloading ${archiveUrl}`);
  const { body } = await get(archiveUrl, DOWNLOAD_TIMEOUT_MS);
  const archive = createGunzip();
  const source = Readable.fromWeb(body);
  source.on("error", (error) => archive.destroy(error));
  source.pipe(archive);
  try {
    await extract(archive, fileToExtract, target);
  } finally {
    source.destroy();
  }
}

async function get(url, timeoutMs) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) }).catch((error) => {
    throw new Error(`GET ${url}: ${error.cause?.code ?? error.cause?.message ?? error.message}`, { cause: error });
  });
  if (!answer.ok) throw new Error(`GET ${url}: HTTP ${answer.status}`);
  return answer;
}

/** Writes one member of a tar stream to a file. Only what a plain archive of plain files holds is understood. */
async function extract(stream, member, target) {
  let buffer = Buffer.alloc(0);
  let left = 0; // Of the current member's bytes.
  let padding = 0;
  let out;
  for await (const bytes of stream) {
    buffer = Buffer.concat([buffer, bytes]);
    while (buffer.length > 0) {
      if (left > 0) {
        const piece = buffer.subarray(0, left);
        [buffer, left] = [buffer.subarray(piece.length), left - piece.length];
        if (out && !out.write(piece)) await once(out, "drain");
        if (left === 0 && out) return close(out);
      } else if (padding > 0) {
        const skipped = Math.min(padding, buffer.length);
        [buffer, padding] = [buffer.subarray(skipped), padding - skipped];
      } else {
        if (buffer.length < BLOCK) break;
        const header = readHeader(buffer.subarray(0, BLOCK));
        buffer = buffer.subarray(BLOCK);
        left = header.size;
        padding = (BLOCK - (left % BLOCK)) % BLOCK;
        if (header.isFile && header.name === member) out = createWriteStream(target, { mode: 0o755 });
      }
    }
  }
  throw new Error(out ? "the archive ended in the middle of the binary" : `there is no "${member}" in the archive`);
}

function readHeader(header) {
  const text = (from, length) => header.toString("latin1", from, from + length).replace(/\0.*$/s, "");
  const prefix = text(345, 155);
  const name = (prefix && `${prefix}/`) + text(0, 100);
  // "0" and NUL both mean a plain file. A block of zeros, at the end, has size 0 and no name.
  return {
    name: name.replace(/^\.\//, ""),
    size: Number.parseInt(text(124, 12), 8) || 0,
    isFile: [0, 48].includes(header[156]),
  };
}

async function close(out) {
  out.end();
  await once(out, "close");
}
