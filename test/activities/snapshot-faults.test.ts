/** Damaged stores, lost sandboxes and odd tars: a snapshot is whole or is said not to be, and names what is wrong. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, linkSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { restoreSnapshot } from "../../activities/snapshot-restore.ts";
import { takeSnapshot } from "../../activities/snapshot-take.ts";
import { LIMITS } from "../../contract/limits.ts";
import { SandboxError } from "../../sandbox/provider.ts";
import { listSnapshots, newestSnapshot } from "../../store/snapshots.ts";
import { aKeptWorkspace, blobsOf, type Kept, treeOf, write } from "./snapshot-builder.ts";

async function damage(kept: Kept, sha256: string, how: (file: string) => void): Promise<void> {
  how(path.join(kept.store.folder, "blobs", sha256.slice(0, 2), sha256));
}

describe.concurrent("going wrong", () => {
  test("a workspace of too many files is said to be too large, and nothing is kept", async () => {
    await using kept = await aKeptWorkspace();
    const scan = (): Promise<never> => Promise.reject(new SandboxError("too_large", "more than 200000 files"));

    await expect(kept.take({ scan })).rejects.toMatchObject({ kind: "too_large" });

    expect(await listSnapshots(kept.store.database, kept.sessionId)).toEqual([]);
  });

  test("more bytes than are kept are refused before any is read", async () => {
    await using kept = await aKeptWorkspace();
    const file = write(kept, "sparse", "");
    truncateSync(file, LIMITS.snapshotBytesMax + 1);

    await expect(kept.take()).rejects.toMatchObject({
      kind: "too_large",
      message: expect.stringContaining("snapshotExcludes"),
    });
  });

  test("a sandbox that is lost on the way leaves the older snapshot and no blob of its own", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a", "first");
    const first = await kept.take();
    const blobs = blobsOf(kept.store);
    write(kept, "b", randomBytes(2 * LIMITS.snapshotLargeBytes));
    write(kept, "c", "third");
    const lost = new SandboxError("lost", "the sandbox is gone");
    const real = kept.workspace.files;

    const failing = kept.take({
      pack: async () => {
        const whole = Buffer.concat(await (await real.pack(["b", "c"])).toArray());
        return Readable.from(
          (async function* () {
            yield whole.subarray(0, whole.length - 2_000);
            throw lost;
          })(),
        );
      },
    });

    await expect(failing).rejects.toBe(lost);
    expect(blobsOf(kept.store)).toEqual(blobs);
    expect((await newestSnapshot(kept.store.database, kept.sessionId))?.id).toBe(first?.id);
  });

  test.each([
    ["is gone by the end", async (folder: string) => rmSync(folder, { recursive: true }), { kind: "lost" }],
    ["goes on going", async (folder: string) => rmSync(path.join(folder, "b")), undefined],
  ])("of a workspace that somebody takes away, and that %s, no half is kept", async (_how, takeMore, refused) => {
    await using kept = await aKeptWorkspace();
    const { folder, files } = kept.workspace;
    for (const name of ["a", "b", "c", "d"]) writeFileSync(path.join(folder, name), name);
    const whole = await kept.take();
    for (const name of ["a", "c", "d"]) rmSync(path.join(folder, name));
    let scans = 0;
    const scan: typeof files.scan = async (options) => {
      const seen = await files.scan(options);
      if (++scans === 1) await takeMore(folder);
      return seen;
    };

    const taking = kept.take({ scan });

    if (refused) await expect(taking).rejects.toMatchObject(refused);
    else expect(await taking).toMatchObject({ files: 0 });
    expect(scans).toBe(refused ? 1 : 4);
    if (refused) expect(await newestSnapshot(kept.store.database, kept.sessionId)).toMatchObject({ id: whole?.id });
  });

  test("what an older generation of the sandbox still holds is never the newest snapshot", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a", "first");
    const first = await kept.take();
    const old = kept.workspace.files;
    await kept.restore(first?.id ?? "snap_none");

    const late = takeSnapshot(kept, { sessionId: kept.sessionId, sandbox: old, generation: 1 });

    await expect(late).rejects.toMatchObject({ name: "SupersededError" });
  });

  test.each<[string, (file: string) => void]>([
    ["with a wrong byte", (file) => writeFileSync(file, readFileSync(file).fill(65, 0, 1))],
    ["that is cut", (file) => truncateSync(file, 3)],
    ["that is missing", (file) => rmSync(file)],
  ])("a restore from a pack %s fails and names it", async (_how, how) => {
    await using kept = await aKeptWorkspace();
    write(kept, "a", "hello");
    write(kept, "sub/b", "world");
    const taken = await kept.take();
    const pack = blobsOf(kept.store).find((sha256) => sha256 !== taken?.manifest) ?? "";
    await damage(kept, pack, how);

    const restore = kept.restore(taken?.id ?? "snap_none");

    await expect(restore).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
    await expect(restore).rejects.toThrow(new RegExp(`${pack}.*has a`));
  });

  test.each<[string, (file: string) => void]>([
    ["with a wrong byte", (file) => writeFileSync(file, readFileSync(file).fill(65, 1_500_000, 1_500_001))],
    ["that is cut", (file) => truncateSync(file, 1_500_000)],
    ["that is too long", (file) => appendFileSync(file, "x")],
  ])("a restore of a large file %s fails and names it", async (_how, how) => {
    await using kept = await aKeptWorkspace();
    write(kept, "large", Buffer.alloc(2_000_000, 7));
    const taken = await kept.take();
    const blob = blobsOf(kept.store).find((sha256) => sha256 !== taken?.manifest) ?? "";
    await damage(kept, blob, how);

    const restore = kept.restore(taken?.id ?? "snap_none");

    await expect(restore).rejects.toMatchObject({ name: "StoreError", kind: "corrupt" });
    await expect(restore).rejects.toThrow(blob);
  });

  test("a damaged manifest fails the restore, and the next snapshot stores all anew", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a", "hello");
    const taken = await kept.take();
    await damage(kept, taken?.manifest ?? "", (file) =>
      writeFileSync(file, readFileSync(file, "utf8").replace("hello", "x")),
    );
    await damage(kept, taken?.manifest ?? "", (file) => appendFileSync(file, "x"));
    await expect(kept.restore(taken?.id ?? "snap_none")).rejects.toMatchObject({ kind: "corrupt" });

    kept.goOn(kept.workspace);
    const again = await kept.take();

    expect(again?.id).not.toBe(taken?.id);
    expect(treeOf((await kept.restore(again?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("a restore over what another restore has half laid gives the whole", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 50; i++) write(kept, `d${i % 5}/f${i}`, `content ${i}`);
    const taken = await kept.take();
    const half = await kept.restore(taken?.id ?? "snap_none");
    for (let i = 0; i < 50; i += 3) rmSync(path.join(half.folder, `d${i % 5}/f${i}`));
    rmSync(path.join(half.folder, "d3"), { recursive: true });
    writeFileSync(path.join(half.folder, "d3"), "a file where a folder belongs");

    await restoreSnapshot(kept, { snapshotId: taken?.id ?? "snap_none", sandbox: half.files });

    expect(treeOf(half.folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("a sandbox that fails to take the tar fails the restore with its own words", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "large", Buffer.alloc(20_000_000, 7));
    const taken = await kept.take();
    const full = new SandboxError("failed", "no space is left");
    const snapshotId = taken?.id ?? "snap_none";

    const refused = restoreSnapshot(kept, { snapshotId, sandbox: { unpack: () => Promise.reject(full) } });
    await expect(refused).rejects.toBe(full);
    const unread = restoreSnapshot(kept, { snapshotId, sandbox: { unpack: () => Promise.resolve() } });
    await expect(unread).rejects.toThrow("took only a part");
  });
});

describe.concurrent("a tar that another program has made", () => {
  const byTar = (kept: Kept, options: readonly string[] = []) => ({
    pack: async (paths: readonly string[]) => {
      const child = spawn("tar", ["-c", "-C", kept.workspace.folder, ...options, "-T", "-"]);
      child.stdin.end(paths.map((one) => `./${one}`).join("\n"));
      return child.stdout;
    },
  });

  test("with its own long names, second names of files and padding is read", async () => {
    await using kept = await aKeptWorkspace();
    const long = `${"deep-".repeat(15)}/${"long-".repeat(30)}é`;
    for (const name of ["a", long, "empty"]) write(kept, name, name === "empty" ? "" : `content of ${name}`);
    linkSync(path.join(kept.workspace.folder, "a"), path.join(kept.workspace.folder, "z"));

    const taken = await kept.take(byTar(kept, ["--format=gnu", "--no-recursion"]));

    expect(taken).toMatchObject({ files: 4, unreadable: { count: 0 } });
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("that names a file only as another name of one that is not in it, or ends too early, loses none", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 5; i++) write(kept, `f${i}`, `content ${i}`);
    linkSync(path.join(kept.workspace.folder, "f0"), path.join(kept.workspace.folder, "z"));
    const whole = byTar(kept);
    let packs = 0;

    const taken = await kept.take({
      pack: async (paths) => {
        const bytes = Buffer.concat(await (await whole.pack(paths)).toArray());
        packs++;
        // First without f0, of which z is only a second name; then f0 alone, without its end.
        if (packs === 1) return Readable.from([bytes.subarray(1_024)]);
        return Readable.from([packs === 2 ? bytes.subarray(0, 1_024) : bytes]);
      },
    });

    expect(packs).toBe(3);
    expect(taken).toMatchObject({ files: 6, unreadable: { count: 0 } });
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });
});
