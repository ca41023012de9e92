/** A workspace is kept as it was: only what changed is stored, and a restore gives all of it back. */
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { SandboxError } from "../../sandbox/provider.ts";
import { readManifest } from "../../store/snapshot-manifest.ts";
import { listSnapshots, newestSnapshot } from "../../store/snapshots.ts";
import { logOf } from "../store/store-builder.ts";
import { aKeptWorkspace, blobsOf, type Kept, namedBlobs, treeOf, write } from "./snapshot-builder.ts";

/** Files look old, so that the next look need not read them for fear of a change in the same tick. */
function age(kept: Kept, ...names: readonly string[]): void {
  const then = new Date(Date.now() - 3_600_000);
  for (const name of names) utimesSync(path.join(kept.workspace.folder, name), then, then);
}

async function entriesOf(kept: Kept): Promise<readonly string[]> {
  const newest = await newestSnapshot(kept.store.database, kept.sessionId);
  if (!newest) throw new Error("there is no snapshot");
  return (await readManifest(kept.store.blobs, newest.manifest)).entries.map((entry) => entry.path);
}

describe.concurrent("taking", () => {
  test("a snapshot is a row, its blobs and an event with its sums", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a.txt", "hello");
    write(kept, "sub/b.bin", randomBytes(2 * LIMITS.snapshotLargeBytes));

    const taken = await kept.take();

    expect(taken).toMatchObject({ files: 2, bytes: 5 + 2 * LIMITS.snapshotLargeBytes, generation: 1, turnId: null });
    expect(taken?.storedBytes).toBe(taken?.bytes);
    const { id: snapshotId, files, bytes, storedBytes } = taken ?? {};
    expect((await logOf(kept.store.database, kept.sessionId)).at(-1)).toMatchObject({
      type: "sandbox.snapshotted",
      ...{ snapshotId, files, bytes, storedBytes, generation: 1, provider: "local" },
    });
    expect(await namedBlobs(kept.store)).toEqual(blobsOf(kept.store));
  });

  test("a workspace that never held anything is no snapshot; one that was emptied is, once", async () => {
    await using kept = await aKeptWorkspace();
    expect(await kept.take()).toBeUndefined();
    write(kept, "a.txt", "hello");
    await kept.take();
    rmSync(path.join(kept.workspace.folder, "a.txt"));

    const taken = await kept.take();

    expect(taken).toMatchObject({ files: 0, bytes: 0, storedBytes: 0 });
    expect(await kept.take()).toBeUndefined();
  });

  test("nothing changed: no row, no event, and no file is read", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a.txt", "hello");
    age(kept, "a.txt");
    const taken = await kept.take();
    const log = await logOf(kept.store.database, kept.sessionId);

    const again = await kept.take({ pack: () => Promise.reject(new Error("nothing is to be read")) });

    expect(again).toBeUndefined();
    expect(await logOf(kept.store.database, kept.sessionId)).toEqual(log);
    expect((await listSnapshots(kept.store.database, kept.sessionId)).map(({ id }) => id)).toEqual([taken?.id]);
  });

  test("only what changed is stored again, and what was touched, moved or copied is not", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 20; i++) write(kept, `f${i}`, `content ${i}`.repeat(100));
    const large = write(kept, "large", randomBytes(LIMITS.snapshotLargeBytes));
    await kept.take();

    age(kept, "f1", "large");
    renameSync(path.join(kept.workspace.folder, "f2"), path.join(kept.workspace.folder, "moved"));
    writeFileSync(path.join(kept.workspace.folder, "copy"), readFileSync(large));
    write(kept, "f3", "other");
    const taken = await kept.take();

    expect(taken?.storedBytes).toBe("other".length);
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("names of any bytes come back", async () => {
    await using kept = await aKeptWorkspace();
    const folder = Buffer.concat([Buffer.from(`${kept.workspace.folder}/d`), Buffer.from([0xff])]);
    const file = Buffer.concat([folder, Buffer.from("/caf"), Buffer.from([0xe9])]);
    mkdirSync(folder);
    writeFileSync(file, "kept");
    symlinkSync(Buffer.from([0x74, 0xfe]), Buffer.concat([folder, Buffer.from("/link")]));

    const taken = await kept.take();
    const restored = await kept.restore(taken?.id ?? "snap_none");

    expect(await entriesOf(kept)).toEqual(["d\\xff", "d\\xff/caf\\xe9", "d\\xff/link"]);
    const place = Buffer.concat([Buffer.from(`${restored.folder}/d`), Buffer.from([0xff])]);
    expect(readdirSync(place, { encoding: "buffer" })).toEqual([
      Buffer.from([...Buffer.from("caf"), 0xe9]),
      Buffer.from("link"),
    ]);
    expect(readFileSync(Buffer.concat([place, Buffer.from("/caf"), Buffer.from([0xe9])]), "utf8")).toBe("kept");
    expect(readlinkSync(Buffer.concat([place, Buffer.from("/link")]), { encoding: "buffer" })).toEqual(
      Buffer.from([0x74, 0xfe]),
    );
  });

  test("a touched file alone is no new snapshot, and the next look does not read it again", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "a.txt", "hello");
    const taken = await kept.take();

    age(kept, "a.txt");

    expect(await kept.take()).toBeUndefined();
    expect(await kept.take({ pack: () => Promise.reject(new Error("nothing is to be read")) })).toBeUndefined();
    expect((await newestSnapshot(kept.store.database, kept.sessionId))?.id).toBe(taken?.id);
    expect(await namedBlobs(kept.store)).toEqual(blobsOf(kept.store));
  });

  test.each<[string, (kept: Kept) => void]>([
    ["a mode", (kept) => chmodSync(path.join(kept.workspace.folder, "a"), 0o755)],
    ["a folder's mode", (kept) => chmodSync(path.join(kept.workspace.folder, "d"), 0o700)],
    ["a symlink's target", (kept) => replaceLink(kept, "l", "d")],
    ["a new empty folder", (kept) => mkdirSync(path.join(kept.workspace.folder, "e"))],
    ["a new empty file", (kept) => write(kept, "e", "")],
    ["a removed file", (kept) => rmSync(path.join(kept.workspace.folder, "a"))],
    ["a file that becomes a symlink", (kept) => replaceLink(kept, "a", "d")],
    ["bytes of the same number", (kept) => write(kept, "a", "HELLO")],
  ])("%s alone is a change", async (_what, change) => {
    await using kept = await aKeptWorkspace();
    write(kept, "a", "hello");
    mkdirSync(path.join(kept.workspace.folder, "d"));
    symlinkSync("a", path.join(kept.workspace.folder, "l"));
    await kept.take();

    change(kept);
    const taken = await kept.take();

    expect(taken).toBeDefined();
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });

  test("caches are left out and dependencies kept; the spec's patterns add to that and take back", async () => {
    await using kept = await aKeptWorkspace({ snapshotExcludes: ["*.log", "!keep.log", "/build/", "!.cache/"] });
    const names = [
      "node_modules/x/index.js",
      ".git/HEAD",
      ".venv/bin/python",
      ".env",
      "keep.log",
      ".cache/pip",
      "src/build/a",
    ];
    for (const name of names) write(kept, name, name);
    for (const name of ["a/__pycache__/x.pyc", ".npm/_cacache/index", "debug.log", "build/out"])
      write(kept, name, name);

    await kept.take();

    const tree = new Set(names.flatMap((name) => [name, path.dirname(name), path.dirname(path.dirname(name))]));
    const others = (await entriesOf(kept)).filter((name) => !tree.has(name));
    // Folders stay, empty, where only what is in them is left out.
    expect(others.toSorted()).toEqual([".npm", "a"]);
    expect(await entriesOf(kept)).toEqual(expect.arrayContaining(names));
  });

  test("a file that vanishes is left out in silence, one that cannot be read is counted and named, others are kept", async () => {
    await using kept = await aKeptWorkspace();
    for (let i = 0; i < 40; i++) write(kept, `f${i}`, `content ${i}`);
    const real = kept.workspace.files;
    rmSync(path.join(kept.workspace.folder, "f1"), { force: true });
    write(kept, "f1", "soon gone");
    const isDenied = (name: string): boolean => name === "f7" || name === "f30";

    const taken = await kept.take({
      pack: async (paths) => {
        rmSync(path.join(kept.workspace.folder, "f1"), { force: true });
        if (!paths.some(isDenied)) return await real.pack(paths);
        const tar = await real.pack(paths.slice(0, paths.findIndex(isDenied)));
        const cut = Readable.from((await tar.toArray()).slice(0, -1));
        return Readable.from(
          (async function* () {
            yield* cut;
            throw new SandboxError("denied", "one of them may not be read");
          })(),
        );
      },
      openFile: (name) =>
        isDenied(name)
          ? Promise.reject(new SandboxError("denied", `${name} may not be accessed`))
          : real.openFile(name),
    });

    expect(taken).toMatchObject({ files: 37, unreadable: { count: 2, names: ["f30", "f7"] } });
    expect((await logOf(kept.store.database, kept.sessionId)).at(-1)).toMatchObject({
      type: "sandbox.snapshotted",
      unreadable: { count: 2, names: ["f30", "f7"] },
    });
  });

  test("it is as of its first look: what changes while it is taken is not promised, also when it is in it", async () => {
    await using kept = await aKeptWorkspace();
    write(kept, "before", "1");
    const { files } = kept.workspace;
    let laterAt = 0;

    const taken = await kept.take({
      scan: async (options) => {
        const found = await files.scan(options);
        const begun = Date.now();
        while (Date.now() === begun) await files.stat("."); // The next millisecond, and not the same one.
        laterAt = Date.now();
        write(kept, "later", "2");
        return found;
      },
    });

    expect(taken?.madeAt).toBeLessThan(laterAt);
    expect(await entriesOf(kept)).toEqual(["before"]);
  });

  test("a file that grows while it is read is stored as it was read, and read again the next time", async () => {
    await using kept = await aKeptWorkspace();
    const file = write(kept, "growing", "begin");
    age(kept, "growing");
    const real = kept.workspace.files;
    const taken = await kept.take({
      scan: async (options) => {
        const entries = await real.scan(options);
        appendFileSync(file, " and on");
        return entries;
      },
    });
    const first = await kept.restore(taken?.id ?? "snap_none");
    expect(readFileSync(path.join(first.folder, "growing"), "utf8")).toBe("begin and on");
    const newest = await newestSnapshot(kept.store.database, kept.sessionId);
    const { entries } = await readManifest(kept.store.blobs, newest?.manifest ?? "");
    expect(entries).toMatchObject([{ path: "growing", bytes: "begin and on".length, version: "" }]);
  });

  test("a file of 50 MB goes through in pieces, and only once", async () => {
    await using kept = await aKeptWorkspace();
    const piece = randomBytes(1_000_003);
    write(kept, "large", Buffer.concat(Array.from({ length: 50 }, () => piece)));
    const before = process.memoryUsage().arrayBuffers;

    const taken = await kept.take();

    expect(taken?.storedBytes).toBe(50 * piece.length);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 ** 2);
    const restored = await kept.restore(taken?.id ?? "snap_none");
    expect(
      readFileSync(path.join(restored.folder, "large")).equals(readFileSync(path.join(kept.workspace.folder, "large"))),
    ).toBe(true);
    kept.goOn(restored);
    expect(await kept.take()).toBeUndefined();
  });

  test("two names of one file are both kept", async () => {
    await using kept = await aKeptWorkspace();
    linkSync(write(kept, "a", "one file"), path.join(kept.workspace.folder, "b"));

    const taken = await kept.take();

    expect(taken).toMatchObject({ files: 2, storedBytes: "one file".length });
    expect(treeOf((await kept.restore(taken?.id ?? "snap_none")).folder)).toEqual(treeOf(kept.workspace.folder));
  });
});

function replaceLink(kept: Kept, name: string, target: string): void {
  rmSync(path.join(kept.workspace.folder, name));
  symlinkSync(target, path.join(kept.workspace.folder, name));
}
