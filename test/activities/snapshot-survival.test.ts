/** Takers that are killed, overtaken or cleaned up after: the snapshots that rows name are always whole, and nothing else stays. */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { takeSnapshot } from "../../activities/snapshot-take.ts";
import { LIMITS } from "../../contract/limits.ts";
import { removeUnusedBlobs } from "../../store/artifacts.ts";
import { sweepBlobs } from "../../store/blob-sweep.ts";
import { purgeSession } from "../../store/sessions.ts";
import { readManifest } from "../../store/snapshot-manifest.ts";
import { listSnapshots, newestSnapshot } from "../../store/snapshots.ts";
import { startProgram } from "../store/fixtures/child-program.ts";
import { logOf, type TemporaryStore } from "../store/store-builder.ts";
import { aKeptWorkspace, blobsOf, namedBlobs, treeOf, write } from "./snapshot-builder.ts";

const KILLS = 6;

/** Every blob that a row names is on the disk, and what it lists is named, too. */
async function expectWhole(store: TemporaryStore): Promise<void> {
  const onDisk = new Set(blobsOf(store));
  expect((await namedBlobs(store)).filter((sha256) => !onDisk.has(sha256))).toEqual([]);
  const rows = await store.database.read.selectFrom("snapshots").selectAll().execute();
  for (const { id, manifest } of rows) {
    const listed = [...(await readManifest(store.blobs, manifest)).blobs.keys(), manifest];
    const named = await store.database.read
      .selectFrom("snapshot_blobs")
      .select("sha256")
      .where("snapshot_id", "=", id)
      .execute();
    expect(named.map(({ sha256 }) => sha256).sort()).toEqual([...new Set(listed)].sort());
  }
}

test(`${KILLS} kills while snapshots are taken leave whole ones, and the newest can be restored`, {
  timeout: 60_000,
}, async () => {
  await using kept = await aKeptWorkspace();
  write(kept, "first", "before all kills");
  await kept.take();
  const root = path.dirname(kept.workspace.folder);

  for (let kill = 0; kill < KILLS; kill++) {
    await using taker = startProgram("snapshot-taker.ts", kept.store.folder, kept.sessionId, "1", root);
    await taker.line();
    await delay(Math.random() * 150); // The instant of the kill is what is random here; nothing waits for it.
    taker.kill();
    expect(await taker.ended).toBe("SIGKILL");
    await expectWhole(kept.store);
  }

  const snapshots = await listSnapshots(kept.store.database, kept.sessionId);
  expect(snapshots.length).toBeLessThanOrEqual(LIMITS.snapshotsKept);
  await kept.take(); // What the last taker left.
  const newest = await newestSnapshot(kept.store.database, kept.sessionId);
  const tree = treeOf(kept.workspace.folder);
  expect(treeOf((await kept.restore(newest?.id ?? "snap_none")).folder)).toEqual(tree);
  const told = (await logOf(kept.store.database, kept.sessionId)).filter(({ type }) => type === "sandbox.snapshotted");
  expect(told.length).toBeGreaterThan(1);
  await sweepBlobs(kept.store.database, kept.store.blobs, { ageMs: 0 });
  await expectWhole(kept.store);
  expect(blobsOf(kept.store)).toEqual(await namedBlobs(kept.store));
});

describe.concurrent("blobs", () => {
  test("the last few snapshots are kept, and what older ones alone named is gone", async () => {
    await using kept = await aKeptWorkspace();
    for (let round = 0; round < 5; round++) {
      write(kept, "large", Buffer.alloc(LIMITS.snapshotLargeBytes, round));
      await kept.take();
    }

    expect(await listSnapshots(kept.store.database, kept.sessionId)).toHaveLength(LIMITS.snapshotsKept);
    expect(await namedBlobs(kept.store)).toEqual(blobsOf(kept.store));
    await expectWhole(kept.store);
    const rows = await kept.store.database.read.selectFrom("blobs").select("sha256").execute();
    expect(rows.map(({ sha256 }) => sha256).sort()).toEqual(blobsOf(kept.store));
  });

  test("two sessions that share content lose it with the second of them", async () => {
    await using one = await aKeptWorkspace();
    await using two = await aKeptWorkspace({}, one.store);
    const shared = Buffer.alloc(LIMITS.snapshotLargeBytes + 1, 9);
    for (const kept of [one, two]) write(kept, "shared", shared);
    write(one, "own", "only one has this");
    const first = await one.take();
    const second = await two.take();
    expect(second?.storedBytes).toBe(0);
    const tree = treeOf(two.workspace.folder);

    await purgeSession(one.store.database, one.sessionId);
    await removeUnusedBlobs(one.store.database, one.store.blobs);

    expect(blobsOf(one.store)).not.toContain(first?.manifest);
    await expectWhole(one.store);
    expect(treeOf((await two.restore(second?.id ?? "snap_none")).folder)).toEqual(tree);
    await purgeSession(one.store.database, two.sessionId);
    await removeUnusedBlobs(one.store.database, one.store.blobs);
    expect(blobsOf(one.store)).toEqual([]);
    for (const table of ["snapshots", "snapshot_blobs", "blobs"] as const) {
      expect(await one.store.database.read.selectFrom(table).selectAll().execute()).toEqual([]);
    }
  });

  test("a purge takes the rows of everything that is a session's, and nobody else's", async () => {
    await using kept = await aKeptWorkspace();
    await using other = await aKeptWorkspace({}, kept.store);
    const { database } = kept.store;
    for (const { sessionId } of [kept, other]) {
      await database.write(async (tx) => {
        const session_id = sessionId;
        const term = { session_id, state: "open", columns: 80, rows: 24, writer: null, opened_at: 0, served_at: 0 };
        await tx
          .insertInto("terminals")
          .values({ ...term, id: `term_${sessionId}`, watched_at: 0, reason: null })
          .execute();
        const frame = { terminal_id: `term_${sessionId}`, direction: "out", number: 1, data: "" };
        await tx.insertInto("terminal_frames").values(frame).execute();
        await tx.insertInto("workspace_files").values({ session_id, path: "a", bytes: 1, version: "1" }).execute();
      });
      await (sessionId === kept.sessionId ? kept : other).take();
    }
    const tables = ["snapshots", "snapshot_blobs", "workspace_files", "terminals", "terminal_frames"] as const;
    const counts = (): Promise<readonly number[]> =>
      Promise.all(tables.map(async (table) => (await database.read.selectFrom(table).selectAll().execute()).length));
    const before = await counts();

    await purgeSession(database, kept.sessionId);

    expect(await counts()).toEqual(before.map((count) => count / 2));
  });

  test("a removal of unused blobs that comes between the storing and the naming makes the taker store again", async () => {
    await using kept = await aKeptWorkspace();
    const content = Buffer.alloc(LIMITS.snapshotLargeBytes, 3);
    const { blobs, database } = kept.store;
    // Another session had these bytes, and is gone: a row that nobody uses.
    const { sha256, bytes } = await blobs.put(content);
    await database.write((tx) => tx.insertInto("blobs").values({ sha256, bytes, created_at: 0 }).execute());
    write(kept, "same", content);
    let puts = 0;
    const interrupted = {
      ...blobs,
      put: async (...given: Parameters<typeof blobs.put>) => {
        const blob = await blobs.put(...given);
        if (blob.sha256 === sha256 && puts++ === 0) await removeUnusedBlobs(database, blobs);
        return blob;
      },
    };

    const store = { ...kept.store, blobs: interrupted };
    const work = { sessionId: kept.sessionId, sandbox: kept.workspace.files, generation: 1 };
    const taken = await takeSnapshot({ store }, work);

    expect(puts).toBe(2);
    await expectWhole(kept.store);
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("a removal that was killed between the file and the row is made good by the next one", async () => {
    await using kept = await aKeptWorkspace();
    const { blobs, database } = kept.store;
    const { sha256, bytes } = await blobs.put(Buffer.from("half removed"));
    await database.write((tx) => tx.insertInto("blobs").values({ sha256, bytes, created_at: 0 }).execute());
    await blobs.remove(sha256);

    await removeUnusedBlobs(database, blobs);

    expect(await database.read.selectFrom("blobs").selectAll().execute()).toEqual([]);
  });

  test("the sweep takes only old blobs that have no row", async () => {
    await using kept = await aKeptWorkspace();
    const { blobs, database } = kept.store;
    const young = await blobs.put(Buffer.from("somebody is about to name this"));
    write(kept, "a", randomBytes(LIMITS.snapshotLargeBytes));
    const taken = await kept.take();

    await sweepBlobs(database, blobs, { ageMs: LIMITS.strayBlobMs });
    expect(await blobs.has(young.sha256)).toBe(true);
    await sweepBlobs(database, blobs, { ageMs: 0 });

    expect(await blobs.has(young.sha256)).toBe(false);
    await expectWhole(kept.store);
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("packs of which little is used are written anew, and the rest is let go", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 10; i++) write(kept, `f${i}`, randomBytes(50_000));
    await kept.take();
    const [stay, go] = [
      ["f0", "f1", "f2"],
      ["f3", "f4", "f5", "f6", "f7", "f8", "f9"],
    ];
    for (const name of go) write(kept, name, `small ${name}`);
    const second = await kept.take();
    write(kept, "f9", "smaller");
    await kept.take();

    const newest = await newestSnapshot(kept.store.database, kept.sessionId);
    const { entries, blobs } = await readManifest(kept.store.blobs, newest?.manifest ?? "");
    expect([...blobs.values()].reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(stay.length * 50_000 + 1_000);
    expect(entries).toHaveLength(10);
    expect(second?.storedBytes).toBeLessThan(stay.length * 50_000 + 1_000);
    expect(treeOf((await kept.restore(newest?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("hundreds of small snapshots do not leave hundreds of packs", { timeout: 30_000 }, async () => {
    await using kept = await aKeptWorkspace();
    for (let round = 0; round < LIMITS.snapshotPacksMax + 5; round++) {
      write(kept, `f${round}`, `content ${round}`);
      await kept.take();
    }

    expect(blobsOf(kept.store).length).toBeLessThan(20);
    const newest = await newestSnapshot(kept.store.database, kept.sessionId);
    expect(treeOf((await kept.restore(newest?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("a damaged pack that is to be written anew is stored from the workspace instead", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 4; i++) write(kept, `f${i}`, randomBytes(10_000));
    const first = await kept.take();
    const pack = blobsOf(kept.store).find((sha256) => sha256 !== first?.manifest) ?? "";
    writeFileSync(path.join(kept.store.folder, "blobs", pack.slice(0, 2), pack), "damaged");
    for (let i = 0; i < 3; i++) write(kept, `f${i}`, "small");

    const second = await kept.take();

    expect(treeOf((await kept.restore(second?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });
});

describe.concurrent("several at once", () => {
  test("takers of one workspace make one snapshot of one state", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 30; i++) write(kept, `f${i}`, `content ${i}`);

    const taken = await Promise.all(Array.from({ length: 5 }, () => kept.take()));

    expect(taken.filter((one) => one !== undefined)).toHaveLength(1);
    expect(await listSnapshots(kept.store.database, kept.sessionId)).toHaveLength(1);
    await expectWhole(kept.store);
    expect(await namedBlobs(kept.store)).toEqual(blobsOf(kept.store));
  });

  test("takers of a workspace that changes meanwhile leave whole snapshots, in order", async () => {
    await using kept = await aKeptWorkspace();
    const work = async (name: string): Promise<void> => {
      for (let round = 0; round < 3; round++) {
        write(kept, name, randomBytes(5_000));
        await kept.take();
      }
    };

    await Promise.all(["a", "b", "c"].map(work));

    await kept.take();
    await expectWhole(kept.store);
    expect(await namedBlobs(kept.store)).toEqual(blobsOf(kept.store));
    const [newest, before] = await listSnapshots(kept.store.database, kept.sessionId);
    expect(newest?.madeAt).toBeGreaterThan(before?.madeAt ?? 0);
    const restored = await kept.restore(newest?.id ?? "snap_none");
    for (const name of readdirSync(kept.workspace.folder)) {
      expect(
        readFileSync(path.join(restored.folder, name)).equals(readFileSync(path.join(kept.workspace.folder, name))),
      ).toBe(true);
    }
  });

  test("one that is always overtaken gives up in words", async () => {
    await using kept = await aKeptWorkspace();
    let round = 0;
    const real = kept.workspace.files;

    const overtaken = kept.take({
      scan: async (options) => {
        write(kept, "other", `${round++}`);
        const entries = await real.scan(options);
        await kept.take();
        write(kept, "other", `${round++}`);
        return entries;
      },
    });

    await expect(overtaken).rejects.toMatchObject({ name: "StoreError", kind: "failed" });
    expect(round).toBe(2 * LIMITS.snapshotAttempts);
    await expectWhole(kept.store);
  });
});
