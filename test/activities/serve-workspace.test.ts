/** Looks into a workspace and writes to it, as a worker does them: over a real store and a real sandbox. */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { MockActivityEnvironment } from "@temporalio/testing";
import { unpackTar } from "modern-tar";
import { describe, expect, test } from "vitest";
import { fromBufferPromise } from "yauzl";
import { createSandboxUpkeep } from "../../activities/sandbox-upkeep.ts";
import { createServeWorkspace } from "../../activities/serve-workspace.ts";
import { openSandbox, stopSandbox } from "../../activities/session-sandbox.ts";
import { FileList } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { WorkspaceAnswer, WorkspaceRequest } from "../../contract/workspace.ts";
import { createRedactor } from "../../tools/redactor.ts";
import { logOf } from "../store/store-builder.ts";
import { type ActivityWorld, anActivityWorld, anAttempt, asked } from "./activity-builder.ts";

type Wanted = WorkspaceRequest extends infer R ? (R extends unknown ? Omit<R, "sessionId"> : never) : never;

interface Place extends ActivityWorld {
  /** The workspace's folder on this machine. */
  readonly folder: string;
}

async function aPlace(): Promise<Place> {
  const world = await anActivityWorld();
  await using sandbox = await openSandbox(world.deps, world.sessionId);
  return { ...world, folder: sandbox.workspace };
}

async function serve(world: ActivityWorld, wanted: Wanted, attempt = anAttempt()): Promise<WorkspaceAnswer> {
  const request = { ...wanted, ...(await asked(world, "workspace")) } as WorkspaceRequest;
  return await attempt.run(createServeWorkspace(world.deps), request);
}

async function write(world: ActivityWorld, file: string, content: string | Buffer, create = false) {
  const { id } = await world.store.transit.put(Buffer.from(content));
  const answer = await serve(world, { operation: "write", path: file, transit: id, create });
  await world.store.transit.remove(id);
  return answer;
}

async function bytesOf(world: ActivityWorld, answer: WorkspaceAnswer): Promise<Buffer> {
  if (!("transit" in answer)) throw new Error(`expected bytes, got ${JSON.stringify(answer)}`);
  const bytes = Buffer.concat(await (await world.store.transit.open(answer.transit)).toArray());
  expect(answer.sha256).toBe(createHash("sha256").update(bytes).digest("hex"));
  return bytes;
}

describe("reading", () => {
  test("makes no sandbox: a session without one has no files", async () => {
    await using world = await anActivityWorld();

    const answer = await serve(world, { operation: "read", path: "", depth: 1 });

    expect(answer).toMatchObject({ found: "nothing", code: "NOT_FOUND" });
    expect(await logOf(world.database, world.sessionId)).toHaveLength(1);
  });

  test("gives a file, and lists a folder as deep as it is asked", async () => {
    await using place = await aPlace();
    mkdirSync(path.join(place.folder, "a/b"), { recursive: true });
    writeFileSync(path.join(place.folder, "a/b/f"), "content");

    const file = await serve(place, { operation: "read", path: "a/b/f", depth: 1 });
    const shallow = await serve(place, { operation: "read", path: "", depth: 1 });
    const deep = await serve(place, { operation: "read", path: "", depth: 3 });

    expect((await bytesOf(place, file)).toString()).toBe("content");
    const list = async (answer: WorkspaceAnswer) =>
      FileList.parse(JSON.parse((await bytesOf(place, answer)).toString())).files.map((one) => one.path);
    expect(await list(shallow)).toEqual(["a"]);
    expect(await list(deep)).toEqual(["a", "a/b", "a/b/f"]);
  });

  test("lists a file whose name holds a secret without it, in whatever letters", async () => {
    await using place = await aPlace();
    writeFileSync(path.join(place.folder, "hunter2-horse.txt"), "");
    const secrets = { values: new Map(), redactor: createRedactor(["Hunter2-HORSE"]) };

    const answer = await serve(
      { ...place, deps: { ...place.deps, secrets } },
      { operation: "read", path: "", depth: 1 },
    );

    expect((await bytesOf(place, answer)).toString()).toContain('"path":"[REDACTED].txt"');
  });

  test("wakes a sandbox that sleeps, and finds its files as they were", async () => {
    await using place = await aPlace();
    await write(place, "kept/f", "content");
    const { stopIdleSandbox } = createSandboxUpkeep(place.deps);
    // As if its last use was long ago.
    await place.database.write((tx) => tx.updateTable("sandboxes").set({ used_at: 0 }).execute());
    expect(await anAttempt().run(stopIdleSandbox, { ...(await asked(place, "idle")), idleMs: 1_000 })).toEqual({
      againInMs: 0,
    });
    expect(readdirSync(path.dirname(path.dirname(place.folder)))).toEqual([]);

    const answer = await serve(place, { operation: "read", path: "kept/f", depth: 1 });

    expect((await bytesOf(place, answer)).toString()).toBe("content");
    const types = (await logOf(place.database, place.sessionId)).map(({ type }) => type);
    expect(types.filter((type) => type.startsWith("sandbox."))).toEqual([
      "sandbox.starting",
      "sandbox.ready",
      "sandbox.snapshotted",
      "sandbox.stopped",
      "sandbox.starting",
      "sandbox.ready",
    ]);
  });

  test("of more files than are told says so", async () => {
    await using place = await aPlace();
    for (let i = 0; i <= LIMITS.filesListedMax; i++) writeFileSync(path.join(place.folder, `${i}`), "");

    const answer = await serve(place, { operation: "read", path: "", depth: 1 });

    const list = FileList.parse(JSON.parse((await bytesOf(place, answer)).toString()));
    expect(list.truncated).toBe(true);
    expect(list.files).toHaveLength(LIMITS.filesListedMax);
  });

  test.each<[string, string]>([
    ["missing", "NOT_FOUND"],
    ["out", "INVALID_INPUT"],
    ["out/passwd", "INVALID_INPUT"],
    ["f/below", "NOT_FOUND"],
  ])("of %s is refused in words", async (name, code) => {
    await using place = await aPlace();
    writeFileSync(path.join(place.folder, "f"), "");
    symlinkSync("/etc", path.join(place.folder, "out"));

    const answer = await serve(place, { operation: "read", path: name, depth: 1 });

    expect(answer).toMatchObject({ found: "nothing", code });
    expect(JSON.stringify(answer)).not.toContain(place.folder);
  });
});

describe("writing", () => {
  test("makes the sandbox and the folders, and is told of as a change", async () => {
    await using world = await anActivityWorld();

    expect(await write(world, "new/folder/f", "content")).toEqual({ found: "written" });
    expect(await write(world, "new/folder/f", "other", true)).toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(await write(world, "new/folder/g", "other", true)).toEqual({ found: "written" });

    const changes = (await logOf(world.database, world.sessionId)).filter((event) => event.type === "file.changed");
    expect(changes.map((event) => event.path)).toEqual(["new/folder/f", "new/folder/g"]);
  });

  test("anew succeeds for one of many who ask for it at once", async () => {
    await using place = await aPlace();

    const answers = await Promise.all(["a", "b", "c", "d"].map((content) => write(place, "lock", content, true)));

    expect(answers.filter(({ found }) => found === "written")).toHaveLength(1);
    expect(answers.filter((answer) => "code" in answer && answer.code === "PRECONDITION_FAILED")).toHaveLength(3);
  });

  test("over a file that must still be the one that was read succeeds once", async () => {
    await using place = await aPlace();
    writeFileSync(path.join(place.folder, "f"), "read");
    const match = createHash("sha256").update("read").digest("hex");
    const { id } = await place.store.transit.put(Buffer.from("newer"));
    const wanted = { operation: "write", path: "f", transit: id, create: false } as const;

    const answers = await Promise.all([1, 2, 3].map(() => serve(place, { ...wanted, match })));
    const any = await serve(place, { ...wanted, match: "*" });
    const missing = await serve(place, { ...wanted, path: "g", match: "*" });

    expect(answers.map(({ found }) => found).toSorted()).toEqual(["nothing", "nothing", "written"]);
    expect([any, missing]).toMatchObject([{ found: "written" }, { code: "PRECONDITION_FAILED" }]);
  });

  test("anew is done once, though its answer was lost", async () => {
    await using place = await aPlace();
    const { id } = await place.store.transit.put(Buffer.from("content"));
    const again = new MockActivityEnvironment({ attempt: 2 });
    writeFileSync(path.join(place.folder, "f"), "content");
    writeFileSync(path.join(place.folder, "g"), "of somebody else");

    const wanted = { operation: "write", transit: id, create: true } as const;
    expect(await serve(place, { ...wanted, path: "f" }, again)).toEqual({ found: "written" });
    const other = new MockActivityEnvironment({ attempt: 2 });
    expect(await serve(place, { ...wanted, path: "g" }, other)).toMatchObject({ code: "PRECONDITION_FAILED" });
  });

  test.each([
    ["d", "CONFLICT"],
    ["out/x", "INVALID_INPUT"],
    ["f/below", "CONFLICT"],
  ])("to %s is refused, and nothing is left behind", async (name, code) => {
    await using place = await aPlace();
    mkdirSync(path.join(place.folder, "d"));
    writeFileSync(path.join(place.folder, "f"), "before");
    symlinkSync("/tmp", path.join(place.folder, "out"));

    const answer = await write(place, name, "x");

    expect(answer).toMatchObject({ found: "nothing", code });
    expect(readdirSync(place.folder).toSorted()).toEqual(["d", "f", "out"]);
    expect(readFileSync(path.join(place.folder, "f"), "utf8")).toBe("before");
  });

  test("is refused once the session's sandbox is stopped for good", async () => {
    await using place = await aPlace();
    await stopSandbox(place.deps, place.sessionId);

    await expect(write(place, "f", "x")).rejects.toThrow(/stopped/);
  });
});

describe("removing", () => {
  const remove = (place: Place, name: string, recursive = false, attempt = anAttempt()) =>
    serve(place, { operation: "remove", path: name, recursive }, attempt);

  test("takes files, empty folders and symlinks, but a full folder only when it is told", async () => {
    await using place = await aPlace();
    mkdirSync(path.join(place.folder, "full/er"), { recursive: true });
    mkdirSync(path.join(place.folder, "empty"));
    writeFileSync(path.join(place.folder, "full/f"), "");
    for (const [link, target] of [
      ["in", "full"],
      ["out", "/etc"],
      ["loose", "nothing"],
    ] as const) {
      symlinkSync(target, path.join(place.folder, link));
    }

    for (const name of ["empty", "in", "out", "loose"]) expect(await remove(place, name)).toEqual({ found: "removed" });
    expect(await remove(place, "full")).toMatchObject({ code: "CONFLICT" });
    expect(readdirSync(place.folder)).toEqual(["full"]);
    expect(await remove(place, "full", true)).toEqual({ found: "removed" });
    expect(await remove(place, "full", true)).toMatchObject({ code: "NOT_FOUND" });
    expect(await remove(place, "full", true, new MockActivityEnvironment({ attempt: 2 }))).toEqual({
      found: "removed",
    });
  });
});

describe("packing", () => {
  async function aTree(): Promise<Place> {
    const place = await aPlace();
    mkdirSync(path.join(place.folder, "x/src/empty"), { recursive: true });
    writeFileSync(path.join(place.folder, "x/src/run.sh"), "#!/bin/sh\n", { mode: 0o755 });
    writeFileSync(path.join(place.folder, "x/src/odd \n n\u00e4me"), Buffer.alloc(300_000, "z"));
    writeFileSync(path.join(place.folder, "x/beside"), "");
    symlinkSync("run.sh", path.join(place.folder, "x/src/link"));
    return place;
  }
  const pack = (place: Place, folder: string, format: "zip" | "tar") =>
    serve(place, { operation: "archive", path: folder, format });

  test("a folder as a tar keeps modes, symlinks and empty folders, under its own name", async () => {
    await using place = await aTree();

    const entries = await unpackTar(new Uint8Array(await bytesOf(place, await pack(place, "x/src", "tar"))));

    expect(entries.map(({ header }) => `${header.type} ${header.name}`).toSorted()).toEqual([
      "directory src/",
      "directory src/empty/",
      "file src/odd \n n\u00e4me",
      "file src/run.sh",
      "symlink src/link",
    ]);
    const script = entries.find(({ header }) => header.name === "src/run.sh");
    expect((script?.header.mode ?? 0) & 0o777).toBe(0o755);
    expect(entries.find(({ header }) => header.type === "symlink")?.header.linkname).toBe("run.sh");
  });

  test("a folder as a zip does, too", async () => {
    await using place = await aTree();

    const zip = await fromBufferPromise(await bytesOf(place, await pack(place, "x/src", "zip")));
    const found: Record<string, string> = {};
    for await (const entry of zip.eachEntry()) {
      const bytes = entry.fileName.endsWith("/") ? [] : await (await zip.openReadStreamPromise(entry)).toArray();
      const mode = (entry.externalFileAttributes >>> 16).toString(8);
      found[`${mode} ${entry.fileName}`] = Buffer.concat(bytes).toString().slice(0, 12);
    }

    expect(found).toEqual({
      "40775 src/": "",
      "40775 src/empty/": "",
      "100755 src/run.sh": "#!/bin/sh\n",
      "100644 src/odd \n n\u00e4me": "zzzzzzzzzzzz",
      "120777 src/link": "run.sh",
    });
  });

  test.each(["tar", "zip"] as const)(
    "a file, an empty folder and the workspace itself can be packed as a %s",
    async (format) => {
      await using place = await aTree();

      for (const name of ["x/beside", "x/src/empty", ""])
        expect(await pack(place, name, format)).toMatchObject({ found: "archive" });
      expect(await pack(place, "x/nothing", format)).toMatchObject({ code: "NOT_FOUND" });
      expect(await pack(place, "x/sr", format)).toMatchObject({ code: "NOT_FOUND" });
    },
  );

  test.each(["tar", "zip"] as const)("times that a %s cannot tell become the nearest ones", async (format) => {
    await using place = await aTree();
    utimesSync(path.join(place.folder, "x/src"), new Date("1960-01-01"), new Date("1960-01-01"));
    utimesSync(path.join(place.folder, "x/beside"), new Date("1960-01-01"), new Date("1960-01-01"));
    utimesSync(path.join(place.folder, "x/src/run.sh"), new Date("2300-01-01"), new Date("2300-01-01"));

    const bytes = await bytesOf(place, await pack(place, "", format));

    expect(bytes.length).toBeGreaterThan(0);
    if (format === "zip") return;
    const times = (await unpackTar(new Uint8Array(bytes))).map(({ header }) => [header.name, header.mtime?.getTime()]);
    expect(times).toContainEqual(["x/beside", 0]);
    expect(times).toContainEqual(["x/src/run.sh", Date.parse("2242-03-16T12:56:31Z")]);
  });

  test("what a zip cannot name is told, and the worker lives on", async () => {
    await using place = await aPlace();
    writeFileSync(path.join(place.folder, "C:\\x"), "");

    expect(await pack(place, "", "zip")).toMatchObject({ code: "CONFLICT", message: expect.stringContaining("tar") });
    expect(await pack(place, "", "tar")).toMatchObject({ found: "archive" });
  });
});
