/** Gets the `temporal` binary from Temporal's official download, when it is known what must come: nothing unchecked is unpacked. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

const PLATFORMS = { linux: "linux", darwin: "darwin" };
const ARCHITECTURES = { x64: "amd64", arm64: "arm64" };
/**
 * SHA-256 of the archives, such as { "1.8.2": { "linux/amd64": "…" } }. None could be taken where this was written; the build
 * by Go is checked by Go itself.
 */
const PINNED = {};
const ASK_TIMEOUT_MS = 15_000;
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;
const ARCHIVE_BYTES_MAX = 512 * 1024 * 1024;
const BLOCK = 512;

/**
 * @param {{ version: string, target: string, base: string, sha256?: string | undefined, onProgress: (text: string) => void }} options
 *   `sha256`: of the archive, in hex; stands over what is pinned here.
 * @returns {Promise<void>}
 */
export async function downloadTemporal({ version, target, base, sha256, onProgress }) {
  const platform = PLATFORMS[process.platform];
  const architecture = ARCHITECTURES[process.arch];
  if (!platform || !architecture) throw new Error(`there is no official build for ${process.platform}/${process.arch}`);
  const wanted = (sha256 || PINNED[version]?.[`${platform}/${architecture}`])?.toLowerCase();
  if (!wanted) {
    throw new Error(
      `not tried, since nobody has pinned the SHA-256 of the ${platform}/${architecture} archive of ${version} here; ` +
        "PERDURE_TEMPORAL_SHA256 allows the one that you trust",
    );
  }
  if (!/^[0-9a-f]{64}$/.test(wanted)) throw new Error("PERDURE_TEMPORAL_SHA256 must be 64 hex digits");
  const question = `${base}/cli/v${version}?arch=${architecture}&platform=${platform}&format=tar.gz`;
  const { archiveUrl, fileToExtract } = await (await get(question, ASK_TIMEOUT_MS)).json();
  if (!archiveUrl || !fileToExtract) throw new Error(`unexpected answer of ${question}`);
  onProgress(`downloading ${archiveUrl}`);
  const archive = `${target}.tar.gz`;
  try {
    const { body } = await get(archiveUrl, DOWNLOAD_TIMEOUT_MS);
    const found = await store(body, archive);
    if (found !== wanted) throw new Error(`${archiveUrl} has the SHA-256 ${found}, expected ${wanted}: it is not used`);
    await unpack(archive, fileToExtract, target);
  } finally {
    await rm(archive, { force: true });
  }
}

/** Writes all of it to a file and answers with its SHA-256. */
async function store(body, file) {
  const hash = createHash("sha256");
  let bytes = 0;
  const counted = async function* (source) {
    for await (const piece of source) {
      bytes += piece.length;
      if (bytes > ARCHIVE_BYTES_MAX) throw new Error(`the archive has more than ${ARCHIVE_BYTES_MAX} bytes`);
      hash.update(piece);
      yield piece;
    }
  };
  await pipeline(body, counted, createWriteStream(file, { mode: 0o600 }));
  return hash.digest("hex");
}

async function unpack(file, member, target) {
  const archive = createGunzip();
  const source = createReadStream(file);
  source.on("error", (error) => archive.destroy(error));
  source.pipe(archive);
  try {
    await extract(archive, member, target);
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
