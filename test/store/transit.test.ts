/** Bytes in transit: whole or not there, under names that are used once, and swept when nobody came for them. */
import { createHash } from "node:crypto";
import { readdirSync, utimesSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { openTransit, TooLongError } from "../../store/transit.ts";
import { temporaryFolder } from "./store-builder.ts";

test("what is put is opened, whole or a part of it, until it is removed", async () => {
  using folder = temporaryFolder();
  const transit = await openTransit(path.join(folder.path, "transit"));

  const { id, bytes, sha256 } = await transit.put(Readable.from([Buffer.from("one "), Buffer.from("two")]));

  expect({ bytes, sha256 }).toEqual({ bytes: 7, sha256: createHash("sha256").update("one two").digest("hex") });
  expect(Buffer.concat(await (await transit.open(id)).toArray()).toString()).toBe("one two");
  expect(Buffer.concat(await (await transit.open(id, { start: 4, end: 5 })).toArray()).toString()).toBe("tw");
  await transit.remove(id);
  await transit.remove(id);
  await expect(transit.open(id)).rejects.toMatchObject({ name: "StoreError", kind: "failed" });
});

test("one that is removed while it is open is read to its end, and ends nothing when nobody reads it", async () => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);
  const { id } = await transit.put(Buffer.from("content"));
  const [read, unread] = [await transit.open(id), await transit.open(id)];

  await transit.remove(id);

  expect(Buffer.concat(await read.toArray()).toString()).toBe("content");
  unread.destroy(new Error("nobody listens"));
  await new Promise((closed) => unread.once("close", closed));
  expect(unread.destroyed).toBe(true);
});

test("the same bytes twice are two, so that one who is done takes nothing from another", async () => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);
  const [first, second] = await Promise.all([transit.put(Buffer.from("x")), transit.put(Buffer.from("x"))]);

  await transit.remove(first.id);

  expect(Buffer.concat(await (await transit.open(second.id)).toArray()).toString()).toBe("x");
});

test.each<[string, () => Promise<Readable>, RegExp]>([
  ["is too long", async () => Readable.from([Buffer.alloc(11)]), /more than 10 bytes/],
  [
    "fails",
    async () =>
      new Readable({
        read() {
          this.push(Buffer.alloc(5));
          this.destroy(new Error("it broke off"));
        },
      }),
    /it broke off/,
  ],
])("of a stream that %s nothing stays", async (_name, source, words) => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);

  const put = transit.put(await source(), { bytesMax: 10 });

  await expect(put).rejects.toThrow(words);
  expect(readdirSync(folder.path)).toEqual([]);
});

test("too long is an error of its own, and so is a stop", async () => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);
  const stop = AbortSignal.timeout(20);

  await expect(transit.put(Buffer.alloc(2), { bytesMax: 1 })).rejects.toBeInstanceOf(TooLongError);
  const never = new Readable({ read: () => undefined });
  await expect(transit.put(never, { signal: stop })).rejects.toMatchObject({ name: "AbortError" });
  expect(never.destroyed).toBe(true);
});

test("what a killed process left is removed by a later one when it is old", async () => {
  using folder = temporaryFolder();
  const before = await openTransit(folder.path);
  const [old, young] = await Promise.all([before.put(Buffer.from("old")), before.put(Buffer.from("young"))]);
  const then = (Date.now() - LIMITS.transitKeptMs - 1_000) / 1_000;
  utimesSync(before.fileOf(old.id), then, then);

  await openTransit(folder.path);

  expect(readdirSync(folder.path)).toEqual([young.id]);
});

test.each(["../perdure.db", "", "a/b"])("%j names nothing", async (id) => {
  using folder = temporaryFolder();
  const transit = await openTransit(folder.path);

  expect(() => transit.fileOf(id)).toThrow(/names nothing/);
  await expect(transit.open(id)).rejects.toThrow(/names nothing/);
});
