/** What changed in a workspace is told once, whoever looks, and what we have laid into it ourselves is no news. */
import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { adoptFiles, publishFileChanges } from "../../activities/file-changes.ts";
import type { SessionEventOf } from "../../contract/events.ts";
import { newId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { SandboxError } from "../../sandbox/provider.ts";
import { openDatabase } from "../../store/database.ts";
import { purgeSession } from "../../store/sessions.ts";
import { logOf } from "../store/store-builder.ts";
import { aKeptWorkspace, type Kept } from "./snapshot-builder.ts";

interface Watched extends AsyncDisposable {
  readonly kept: Kept;
  readonly notes: readonly string[];
  write(name: string, content?: string): void;
  look(scan?: Kept["workspace"]["files"]["scan"]): Promise<void>;
  adopt(): Promise<void>;
  told(): Promise<readonly SessionEventOf<"file.changed">[]>;
  /** The changes as words: `created a`. */
  words(): Promise<readonly string[]>;
}

async function aWatched(): Promise<Watched> {
  const kept = await aKeptWorkspace();
  const notes: string[] = [];
  const deps = { store: kept.store, note: (message: string) => void notes.push(message) };
  const { sessionId } = kept;
  const told = async (): Promise<readonly SessionEventOf<"file.changed">[]> =>
    (await logOf(kept.store.database, sessionId)).filter((event) => event.type === "file.changed");
  return {
    kept,
    notes,
    write: (name, content = name) => {
      mkdirSync(path.dirname(path.join(kept.workspace.folder, name)), { recursive: true });
      writeFileSync(path.join(kept.workspace.folder, name), content);
    },
    look: (scan = kept.workspace.files.scan) => publishFileChanges(deps, { sessionId, sandbox: { scan } }),
    adopt: () => adoptFiles(deps, { sessionId, sandbox: kept.workspace.files }),
    told,
    words: async () => (await told()).map(({ change, path: name }) => `${change} ${name}`),
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}

describe.concurrent("a look", () => {
  test("tells what is created, modified and deleted, in order of the paths, and nothing twice", async () => {
    await using one = await aWatched();
    for (const name of ["b", "a/x", "c"]) one.write(name);
    await one.look();
    expect(await one.words()).toEqual(["created a/x", "created b", "created c"]);

    one.write("b", "longer than before");
    rmSync(path.join(one.kept.workspace.folder, "c"));
    renameSync(path.join(one.kept.workspace.folder, "a/x"), path.join(one.kept.workspace.folder, "a/y"));
    await one.look();
    await one.look();

    const later = (await one.words()).slice(3);
    expect(later).toEqual(["deleted a/x", "created a/y", "modified b", "deleted c"]);
    expect((await one.told())[5]).toMatchObject({ path: "b", bytes: "longer than before".length });
    expect((await one.told())[6]).not.toHaveProperty("bytes");
  });

  test("says of which turn and call", async () => {
    await using one = await aWatched();
    one.write("a");
    const [turnId, callId] = [newId("turn"), newId("call")];

    const { kept } = one;
    await publishFileChanges(kept, { sessionId: kept.sessionId, sandbox: kept.workspace.files, turnId, callId });

    expect(await one.told()).toMatchObject([{ path: "a", turnId, callId }]);
  });

  test("sees bytes of the same number and an old time, a symlink that points elsewhere, and a file that becomes a link", async () => {
    await using one = await aWatched();
    const { folder } = one.kept.workspace;
    for (const name of ["a", "b"]) one.write(name, "12345");
    symlinkSync("a", path.join(folder, "link"));
    for (const name of ["a", "b"]) utimesSync(path.join(folder, name), 1_000, 1_000);
    await one.adopt();

    one.write("a", "54321");
    utimesSync(path.join(folder, "a"), 1_000, 1_000);
    for (const name of ["link", "b"]) rmSync(path.join(folder, name));
    for (const name of ["link", "b"]) symlinkSync("elsewhere", path.join(folder, name));
    await one.look();

    expect(await one.words()).toEqual(["modified a", "modified b", "modified link"]);
  });

  test("does not look into what package managers and git write", async () => {
    await using one = await aWatched();
    for (const name of [
      ".git/HEAD",
      "node_modules/x/i.js",
      "sub/node_modules/y",
      ".venv/bin/python",
      "a/__pycache__/b.pyc",
    ]) {
      one.write(name);
    }
    for (const name of [".gitignore", "src/node_modules.txt", "dist/out.js"]) one.write(name);

    await one.look();

    expect(await one.words()).toEqual(["created .gitignore", "created dist/out.js", "created src/node_modules.txt"]);
  });

  test("tells at most so many, and the last how many more there are; none of those is told later", async () => {
    await using one = await aWatched();
    for (let i = 0; i < LIMITS.fileChangesMax + 23; i++) one.write(`f${i}`);

    await one.look();
    await one.look();

    const told = await one.told();
    expect(told).toHaveLength(LIMITS.fileChangesMax);
    expect(told.at(-1)).toMatchObject({ more: 23 });
    expect(told.filter((event) => "more" in event)).toHaveLength(1);
  });

  test("is cheap when nothing has changed: no row is read, and 50 files take less than 5 ms", async () => {
    await using one = await aWatched();
    for (let i = 0; i < 50; i++) one.write(`d${i % 5}/f${i}`);
    await one.look();
    const times: number[] = [];

    for (let i = 0; i < 40; i++) {
      const startedAt = performance.now();
      await one.look();
      times.push(performance.now() - startedAt);
    }

    // The quickest, because others may have the machine's cores meanwhile.
    expect(Math.min(...times)).toBeLessThan(5);
    expect(await one.told()).toHaveLength(50);
  });
});

describe.concurrent("what we have laid", () => {
  test("into a sandbox is no news, and what changes of it afterwards is", async () => {
    await using one = await aWatched();
    for (const name of ["agent.md", "tool.sh"]) one.write(name);
    await one.adopt();
    await one.look();
    expect(await one.words()).toEqual([]);

    one.write("agent.md", "changed by the agent");
    one.write("new");
    await one.look();

    expect(await one.words()).toEqual(["modified agent.md", "created new"]);
  });

  test("a replaced sandbox begins with its own files: none of the lost one's is deleted, none of the restored created", async () => {
    await using one = await aWatched();
    for (const name of ["a", "b"]) one.write(name);
    await one.look();
    const taken = await one.kept.take();
    one.write("lost");
    await one.look();
    const before = await one.words();

    one.kept.goOn(await one.kept.restore(taken?.id ?? "snap_none"));
    await one.adopt();
    await one.look();

    expect(await one.words()).toEqual(before);
  });
});

describe.concurrent("many at once", () => {
  test("in one process tell each change once", async () => {
    await using one = await aWatched();
    for (let round = 0; round < 5; round++) {
      one.write(`f${round}`);
      one.write("same", "x".repeat(round + 1));
      await Promise.all(Array.from({ length: 6 }, () => one.look()));
    }

    const words = await one.words();
    expect(words.filter((word) => word.startsWith("created"))).toHaveLength(6);
    expect(words.filter((word) => word === "modified same")).toHaveLength(4);
    expect(words).toHaveLength(10);
  });

  test("in two processes, each with its own memory of the rows, tell each change once", async () => {
    await using one = await aWatched();
    const other = await openDatabase(one.kept.store.file);
    const { sessionId } = one.kept;
    const lookElsewhere = (): Promise<void> =>
      publishFileChanges({ store: { database: other } }, { sessionId, sandbox: one.kept.workspace.files });
    for (let round = 0; round < 6; round++) {
      one.write(`f${round}`);
      if (round > 0) rmSync(path.join(one.kept.workspace.folder, `f${round - 1}`));
      await Promise.all([one.look(), lookElsewhere(), one.look(), lookElsewhere()]);
    }
    await other.close();

    const words = await one.words();
    expect(new Set(words).size).toBe(words.length);
    expect(words).toHaveLength(11);
  });

  test("one whose scan is older than what another has told since tells nothing of it", async () => {
    await using one = await aWatched();
    one.write("a");
    await one.look();
    let isFirst = true;

    await one.look(async (options) => {
      const found = await one.kept.workspace.files.scan(options);
      if (!isFirst) return found;
      isFirst = false;
      one.write("b");
      await one.look();
      return found;
    });

    expect(await one.words()).toEqual(["created a", "created b"]);
  });
});

describe.concurrent("going wrong", () => {
  test("too many files: nothing is told, one note is made, and later the few that are there are no news", async () => {
    await using one = await aWatched();
    one.write("a");
    await one.look();
    const tooMany = (): Promise<never> => Promise.reject(new SandboxError("too_large", "too many files"));

    await one.look(tooMany);
    await one.look(tooMany);
    one.write("b");
    await one.look();
    expect(await one.words()).toEqual(["created a"]);
    expect(one.notes).toEqual([expect.stringContaining(`more than ${LIMITS.filesWatchedMax} files`)]);

    one.write("c");
    await one.look();
    expect(await one.words()).toEqual(["created a", "created c"]);
  });

  test("a sandbox that is lost is told to the caller, and nothing is said to be deleted", async () => {
    await using one = await aWatched();
    one.write("a");
    await one.look();
    rmSync(one.kept.workspace.folder, { recursive: true });

    await expect(one.look()).rejects.toMatchObject({ kind: "lost" });

    expect(await one.words()).toEqual(["created a"]);
  });

  test("a session that is gone has no log to tell it in, and no row is left of it", async () => {
    await using one = await aWatched();
    one.write("a");
    const { database } = one.kept.store;
    await one.look();
    await purgeSession(database, one.kept.sessionId);
    one.write("b");

    await expect(one.look())
      .resolves.toBeUndefined()
      .catch(() => undefined);

    expect(await database.read.selectFrom("workspace_files").selectAll().execute()).toEqual([]);
  });
});
