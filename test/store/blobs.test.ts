/** A blob is whole or not there, whatever its source, its writer or its disk does. */
import { createHash } from "node:crypto";
import { createReadStream, readdirSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { openBlobStore } from "../../store/blobs.ts";
import { startProgram } from "./fixtures/child-program.ts";
import { temporaryFolder } from "./store-builder.ts";

async function blobFolder() {
  const folder = temporaryFolder();
  const blobs = await openBlobStore(folder.path);
  const files = () =>
    readdirSync(folder.path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(folder.path, path.join(entry.parentPath, entry.name)));
  const textOf = async (sha256: string, range?: { start: number; end: number }) =>
    Buffer.concat(await (await blobs.open(sha256, range)).toArray()).toString();
  return { ...folder, path: folder.path, blobs, files, textOf };
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

test("bytes are found again by their digest, whole and in parts", async () => {
  using folder = await blobFolder();

  const blob = await folder.blobs.put(Readable.from([Buffer.from("hello "), Buffer.from("world")]));

  expect(blob).toEqual({ sha256: sha256("hello world"), bytes: 11 });
  expect(await folder.textOf(blob.sha256)).toBe("hello world");
  expect(await folder.textOf(blob.sha256, { start: 6, end: 8 })).toBe("wor");
  expect(await folder.textOf(blob.sha256, { start: 10, end: 1_000 })).toBe("d");
});

test("an empty blob is a blob", async () => {
  using folder = await blobFolder();

  const blob = await folder.blobs.put(new Uint8Array());

  expect(blob).toEqual({ sha256: sha256(""), bytes: 0 });
  expect(await folder.textOf(blob.sha256)).toBe("");
});

test("the same bytes stored by many at once are one file", async () => {
  using folder = await blobFolder();

  const stored = await Promise.all(Array.from({ length: 20 }, () => folder.blobs.put(Buffer.from("same"))));

  expect(new Set(stored.map((blob) => blob.sha256)).size).toBe(1);
  expect(folder.files()).toEqual([path.join(sha256("same").slice(0, 2), sha256("same"))]);
});

test("a blob that is not there is a StoreError, and removing it is none", async () => {
  using folder = await blobFolder();
  const blob = await folder.blobs.put(Buffer.from("x"));

  await folder.blobs.remove(blob.sha256);
  await folder.blobs.remove(blob.sha256);

  await expect(folder.blobs.open(blob.sha256)).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
  expect(folder.files()).toEqual([]);
});

test("a source that fails in the middle leaves nothing, and its error is the caller's", async () => {
  using folder = await blobFolder();
  const source = Readable.from(
    (async function* () {
      yield Buffer.alloc(100_000);
      throw new Error("the sandbox went away");
    })(),
  );

  await expect(folder.blobs.put(source)).rejects.toThrow("the sandbox went away");

  expect(folder.files()).toEqual([]);
});

test("a disk's error that comes from the source is not taken for the store's own", async () => {
  using folder = await blobFolder();
  const missing = createReadStream(path.join(folder.path, "missing"));

  await expect(folder.blobs.put(missing)).rejects.toMatchObject({ name: "Error", code: "ENOENT" });
});

test("a put that is aborted stops its source and leaves nothing", async () => {
  using folder = await blobFolder();
  const abort = new AbortController();
  let stopped = false;
  const source = new Readable({
    read() {
      this.push(Buffer.alloc(65_536));
      setImmediate(() => abort.abort());
    },
    destroy(_error, done) {
      stopped = true;
      done(null);
    },
  });

  await expect(folder.blobs.put(source, abort.signal)).rejects.toMatchObject({ name: "AbortError" });

  expect(stopped).toBe(true);
  expect(folder.files()).toEqual([]);
});

test("a writer that is killed leaves only a temporary file, which a later start removes when it is stale", async () => {
  using folder = await blobFolder();
  await using writer = startProgram("blob-writer.ts", folder.path);
  await writer.line();
  writer.kill();
  await writer.ended;
  const [left, ...others] = folder.files();
  expect(others).toEqual([]);
  expect(left).toMatch(/^tmp\//);

  await openBlobStore(folder.path);
  expect(folder.files()).toEqual([left]); // It might be another living writer's.
  const long = new Date(Date.now() - 2 * 3_600_000);
  utimesSync(path.join(folder.path, left ?? ""), long, long);
  await openBlobStore(folder.path);

  expect(folder.files()).toEqual([]);
});

test("a folder that cannot be written is a StoreError in words, without its path", async () => {
  using folder = await blobFolder();
  const digest = sha256("x");
  writeFileSync(path.join(folder.path, digest.slice(0, 2)), "in the way");

  const put = folder.blobs.put(Buffer.from("x"));

  await expect(put).rejects.toMatchObject({ name: "StoreError", kind: "failed" });
  await expect(put).rejects.not.toThrow(folder.path);
});

test("100 MB stream through in constant memory", async () => {
  using folder = await blobFolder();
  const piece = Buffer.alloc(256 * 1024, 7);
  const [before, peak] = [process.memoryUsage().rss, { rss: 0 }];
  const source = Readable.from(
    (function* () {
      for (let i = 0; i < 400; i++) {
        peak.rss = Math.max(peak.rss, process.memoryUsage.rss());
        yield piece;
      }
    })(),
  );

  const blob = await folder.blobs.put(source);

  expect(blob.bytes).toBe(400 * piece.length);
  expect((peak.rss - before) / 1024 ** 2).toBeLessThan(40);
});
