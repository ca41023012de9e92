/** A full disk is said to be one, loses nothing that was stored, and stops mattering when there is room again. Needs root, to mount a small one. */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openBlobStore } from "../../store/blobs.ts";
import { openDatabase } from "../../store/database.ts";
import { append } from "../../store/event-log.ts";
import { fillDisk, smallDisk } from "../support/small-disk.ts";
import { aSession, logOf } from "./store-builder.ts";

test("a blob that does not fit is StoreError full, leaves nothing, and fits when there is room", async (context) => {
  const disk = smallDisk("1m");
  if (disk instanceof Error) return context.skip(`no small disk can be mounted here: ${disk.message}`);
  const blobs = await openBlobStore(path.join(disk, "blobs"));
  const small = await blobs.put(Buffer.from("kept"));
  writeFileSync(path.join(disk, "ballast"), Buffer.alloc(600 * 1024));

  const put = blobs.put(Buffer.alloc(500 * 1024, 7));

  await expect(put).rejects.toMatchObject({ name: "StoreError", kind: "full" });
  expect(readdirSync(path.join(disk, "blobs", "tmp"))).toEqual([]);
  expect((await (await blobs.open(small.sha256)).toArray()).join("")).toBe("kept");
  rmSync(path.join(disk, "ballast"));
  expect((await blobs.put(Buffer.alloc(500 * 1024, 7))).bytes).toBe(500 * 1024);
});

test("a transaction that does not fit is StoreError full, leaves nothing, and is taken when there is room", async (context) => {
  const disk = smallDisk("3m");
  if (disk instanceof Error) return context.skip(`no small disk can be mounted here: ${disk.message}`);
  const database = await openDatabase(path.join(disk, "perdure.db"));
  onTestFinished(() => database.close());
  const sessionId = await aSession(database);
  const ballast = fillDisk(disk, 200 * 1024);
  const write = () =>
    database.write((tx) =>
      append(
        tx,
        sessionId,
        Array.from({ length: 20 }, () => ({ type: "message.refused", messageId: "m", message: "x".repeat(20_000) })),
      ),
    );

  await expect(write()).rejects.toMatchObject({ name: "StoreError", kind: "full" });
  expect(await logOf(database, sessionId)).toHaveLength(1);

  rmSync(ballast);
  await write();
  expect(await logOf(database, sessionId)).toHaveLength(21);
});
