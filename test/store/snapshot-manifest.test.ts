/** The list of a snapshot's files: what was written once is read for ever, and what is damaged or newer is refused in words. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { openBlobStore } from "../../store/blobs.ts";
import { type Manifest, readManifest, storeManifest } from "../../store/snapshot-manifest.ts";
import { temporaryFolder } from "./store-builder.ts";

const [A, B] = ["a".repeat(64), "b".repeat(64)];

/** As 0.3 wrote it. Never to be changed: snapshots of that form are in people's stores. */
const SAMPLE = [
  `{"perdure":"workspace","format":1,"entries":5,"blobs":[["${A}",12],["${B}",2000000]]}`,
  '["d","src",1795280688455.5,493]',
  `["f","src/odd\\nname\u2028é",1795280688455.125,420,5,"${"c".repeat(64)}","12-34-5",0,7]`,
  `["f","large",1795280688000,420,2000000,"${B}","",1,0]`,
  `["f","empty",1795280688000,384,0,"${"e".repeat(64)}","1-2-0",-1,0]`,
  '["l","link",1795280688000,"../elsewhere"]',
  "",
].join("\n");

const MANIFEST: Manifest = {
  blobs: new Map([
    [A, 12],
    [B, 2_000_000],
  ]),
  entries: [
    { kind: "folder", path: "src", modifiedAt: 1_795_280_688_455.5, mode: 0o755 },
    {
      ...{ kind: "file", path: "src/odd\nname\u2028é", modifiedAt: 1_795_280_688_455.125, mode: 0o644, bytes: 5 },
      ...{ sha256: "c".repeat(64), version: "12-34-5", content: { blob: A, offset: 7 } },
    },
    {
      ...{ kind: "file", path: "large", modifiedAt: 1_795_280_688_000, mode: 0o644, bytes: 2_000_000 },
      ...{ sha256: B, version: "", content: { blob: B, offset: 0 } },
    },
    {
      ...{ kind: "file", path: "empty", modifiedAt: 1_795_280_688_000, mode: 0o600, bytes: 0 },
      ...{ sha256: "e".repeat(64), version: "1-2-0", content: undefined },
    },
    { kind: "symlink", path: "link", modifiedAt: 1_795_280_688_000, target: "../elsewhere" },
  ],
};

async function aStore() {
  const folder = temporaryFolder();
  const blobs = await openBlobStore(folder.path);
  const stored = async (text: string): Promise<string> => (await blobs.put(Buffer.from(text))).sha256;
  return { ...folder, blobs, stored };
}

test("what was written by the first version is read as it was meant, and is what is written today", async () => {
  using store = await aStore();

  expect(await readManifest(store.blobs, await store.stored(SAMPLE))).toEqual(MANIFEST);

  const { sha256 } = await storeManifest(store.blobs, MANIFEST);
  expect(sha256).toBe(createHash("sha256").update(SAMPLE).digest("hex"));
});

test("thousands of entries come back in their order, wherever the chunks end", async () => {
  using store = await aStore();
  const entries = Array.from({ length: 3_001 }, (_, index) => {
    const path = `ünïcödé/日本語-${index}`;
    return { kind: "symlink" as const, path, modifiedAt: index / 8, target: "🦀".repeat(index % 50) };
  });
  const { sha256 } = await storeManifest(store.blobs, { entries, blobs: new Map() });
  const whole = Buffer.concat(await (await store.blobs.open(sha256)).toArray());
  const inPieces = {
    ...store.blobs,
    open: async () =>
      Readable.from(Array.from({ length: Math.ceil(whole.length / 7) }, (_, i) => whole.subarray(i * 7, i * 7 + 7))),
  };

  expect((await readManifest(inPieces, sha256)).entries).toEqual(entries);
});

test.each<[string, string, string]>([
  ["of a newer format", SAMPLE.replace('"format":1', '"format":2'), "newer Perdure"],
  ["that is something else", '{"hello":"world"}\n', "damaged"],
  ["that is no JSON", "hello\n", "damaged"],
  ["that is empty", "", "damaged"],
  ["whose last line is missing", SAMPLE.slice(0, SAMPLE.lastIndexOf("[")), "damaged"],
  ["that is cut in mid-line", SAMPLE.slice(0, -5), "damaged"],
  ["that names a blob which it does not list", SAMPLE.replace('"12-34-5",0,7', '"12-34-5",2,7'), "damaged"],
  ["with an entry of an unknown kind", SAMPLE.replace('["l"', '["x"'), "damaged"],
])("a list %s is refused in words", async (_which, text, words) => {
  using store = await aStore();

  const read = readManifest(store.blobs, await store.stored(text));

  await expect(read).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
  await expect(read).rejects.toThrow(words);
});

test("a list that is not what its digest says is refused, though every line of it can be read", async () => {
  using store = await aStore();
  const sha256 = await store.stored(SAMPLE);
  const other = {
    ...store.blobs,
    open: async () => Readable.from([Buffer.from(SAMPLE.replace("elsewhere", "somewhere"))]),
  };

  await expect(readManifest(other, sha256)).rejects.toMatchObject({ kind: "corrupt" });
});
