/** Programs in a sandbox that swap folders for symlinks while the host works on their workspace: nothing outside is touched. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { text as readText } from "node:stream/consumers";
import { createTarPacker } from "modern-tar";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { CallId, SandboxId } from "../../contract/ids.ts";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { findCgroupPlaces } from "../../sandbox/cgroup.ts";
import { removeTree } from "../../sandbox/host-removal.ts";
import { listFolders, removeSandboxFolder } from "../../sandbox/host-root.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { bytes, newCallId, run, text, watch } from "./commands.ts";

const found = await detectBubblewrap();
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-races-"));
const victim = mkdtempSync(path.join(os.tmpdir(), "perdure-victim-"));
const provider = createBubblewrapProvider({ root });
const places = findCgroupPlaces();
const TRIES = 8;
let count = 0;
const newId = (): SandboxId => `sbx_race_${process.pid}_${++count}`;

afterAll(async () => {
  for (const { id } of await provider.list()) await provider.remove(id);
  for (const folder of [root, victim]) rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  for (const name of ["a", "b", "c"]) {
    mkdirSync(path.join(victim, name), { recursive: true });
    writeFileSync(path.join(victim, name, "kept"), SECRET);
    chmodSync(path.join(victim, name), 0o755);
    chmodSync(path.join(victim, name, "kept"), 0o400);
  }
});

/** Its folder `busy` never rests: folders in it change places with symlinks to the host's folder, and new files come. */
const swapper = (folder: string): string => `mkdir -p busy && cd busy && exec python3 - <<'PYTHON'
import ctypes, os, sys
libc = ctypes.CDLL(None)
names = [b"a", b"b", b"c"]
print("up", flush=True)
turn = 0
while True:
    turn += 1
    for name in names:
        for make in (
            lambda: os.mkdir(name), lambda: os.mkdir(name + b"/a"), lambda: os.close(os.open(name + b"/kept", 64)),
            lambda: os.symlink(b"${folder}/" + name, b"link-" + name), lambda: os.symlink(b"${folder}", b"top"),
            lambda: os.close(os.open(b"f%d" % (turn % 50), 64)),
        ):
            try: make()
            except OSError: pass
        libc.renameat2(-100, name, -100, b"link-" + name, 2)
PYTHON`;

function victimFiles(): readonly string[] {
  return ["a", "b", "c"].map((name) => {
    const file = path.join(victim, name, "kept");
    return existsSync(file) ? `${readFileSync(file, "utf8")} ${(statSync(file).mode & 0o777).toString(8)}` : "deleted";
  });
}

const SECRET = "of the host";
const UNTOUCHED = ["a", "b", "c"].map(() => `${SECRET} 400`);

async function startSwapper(sandbox: Sandbox): Promise<CallId> {
  const callId = newCallId();
  await sandbox.start({ callId, command: swapper(victim), timeoutMs: 60_000 });
  await watch(sandbox, callId, { until: "up\n" });
  return callId;
}

const PLAIN = { version: 1, folders: {} } as const;

describe.skipIf(!found.works)(
  found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
  { timeout: 120_000 },
  () => {
    test.skipIf(places.folders.freezer === undefined && places.version === 1)(
      "a folder in which a program swaps symlinks is removed at once, and what they name stays",
      async () => {
        const sandbox = await provider.open(newId());
        for (let left = TRIES; left > 0; left--) {
          const callId = await startSwapper(sandbox);

          expect(await sandbox.removeFile("busy")).toBe(true);

          expect(victimFiles()).toEqual(UNTOUCHED);
          expect(readdirSync(path.join(root, sandbox.id, "staging"))).toEqual([]);
          expect(await sandbox.stat("busy")).toBeUndefined();
          // It was held still and goes on.
          expect((await run(sandbox, "echo well")).end).toMatchObject({ exitCode: 0 });
          await sandbox.kill(callId);
        }
        await provider.remove(sandbox.id);
      },
    );

    test("where programs cannot be held still, a busy folder leaves the workspace, which is told, and is removed later", async () => {
      const bare = createBubblewrapProvider({ root, cgroups: PLAIN });
      const sandbox = await bare.open(newId());
      const staging = path.join(root, sandbox.id, "staging");
      const failures: unknown[] = [];
      for (let left = TRIES; left > 0; left--) {
        const callId = await startSwapper(sandbox);
        await sandbox.removeFile("busy").catch((thrown: unknown) => failures.push(thrown));

        expect(victimFiles()).toEqual(UNTOUCHED);
        expect(await sandbox.stat("busy")).toBeUndefined();
        await sandbox.kill(callId);
      }
      for (const failure of failures) {
        expect(failure).toMatchObject({ kind: "failed", message: expect.stringMatching(/programs of the sandbox/) });
      }

      await bare.tidy?.(async () => false);

      expect(readdirSync(staging)).toEqual([]);
      await bare.remove(sandbox.id);
      expect(victimFiles()).toEqual(UNTOUCHED);
    });

    test("a sandbox is removed while its programs swap symlinks, and what they name stays", async () => {
      for (const one of [provider, createBubblewrapProvider({ root, cgroups: PLAIN })]) {
        const sandbox = await one.open(newId());
        await startSwapper(sandbox);
        await startSwapper(sandbox);

        await one.remove(sandbox.id);

        expect(victimFiles()).toEqual(UNTOUCHED);
        expect(readdirSync(root).filter((name) => name.includes(sandbox.id))).toEqual([]);
      }
    });

    test("no file operation reads, lists, links to or writes what a swapped symlink names", async () => {
      const sandbox = await provider.open(newId());
      const callId = await startSwapper(sandbox);
      const seen: string[] = [];
      const note = (what: unknown): void => void seen.push(typeof what === "string" ? what : JSON.stringify(what));
      const attempts: readonly (() => Promise<unknown>)[] = [
        async () => note(text(await sandbox.readFile("busy/a/kept"))),
        async () => note(text(await sandbox.readFile("busy/top/a/kept"))),
        async () => note(await readText(await sandbox.openFile("busy/b/kept"))),
        async () => note((await sandbox.stat("busy/c/kept"))?.bytes === 4 ? "kept" : "other"),
        async () => note(await sandbox.listFiles("busy", { depth: 4, max: 1_000 })),
        async () => note(await sandbox.scan({ skip: () => false, max: 10_000 })),
        async () => note(await readText(await sandbox.pack(["busy/a/kept", "busy/b/kept", "busy/c/kept", "busy/top"]))),
        () => sandbox.writeFile("busy/a/kept", bytes("overwritten")),
        () => sandbox.writeFile("busy/b/made/deep", bytes("made")),
        () => sandbox.removeFile("busy/c/kept"),
        () => sandbox.removeFile("busy/b"),
        () => sandbox.unpack(tarOf({ "busy/a/kept": "unpacked", "busy/b": undefined, "busy/c/x/": undefined })),
        () => run(sandbox, "true", { cwd: "busy/a" }),
      ];
      for (let round = 0; round < 40; round++) {
        for (const attempt of attempts) await attempt().catch(() => undefined);
        expect(victimFiles()).toEqual(UNTOUCHED);
      }

      expect(readdirSync(victim, { recursive: true }).length).toBe(6);
      expect(seen.length).toBeGreaterThan(40);
      expect(seen.filter((one) => one.includes(SECRET))).toEqual([]);
      await sandbox.kill(callId);
      await provider.remove(sandbox.id);
    });
  },
);

test("a tree with folders that nobody may enter, and deeper than a path can be, is removed", {
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-deep-"));
  const script = `
import os, sys
os.chdir(sys.argv[1]); os.makedirs("shut/in"); open("shut/in/f", "w").close()
os.chmod("shut/in", 0); os.chmod("shut", 0); os.symlink(sys.argv[2], "link")
for _ in range(500):
    os.mkdir("dddddddddd"); os.chdir("dddddddddd"); open("f", "w").close()`;
  execFileSync("python3", ["-c", script, folder, victim]);

  await removeTree(folder);

  expect(existsSync(folder)).toBe(false);
  expect(victimFiles()).toEqual(UNTOUCHED);
});

test("a removal whose worker was killed is listed as its sandbox, and completed by the next", async () => {
  const id = newId();
  const folder = path.join(root, id);
  mkdirSync(path.join(folder, "workspace", "left"), { recursive: true });
  let doomed = "";
  const broken = removeSandboxFolder(folder, (place) => {
    doomed = place;
    throw new Error("killed here");
  });
  await expect(broken).rejects.toThrow("killed here");
  expect(existsSync(doomed)).toBe(true);
  expect(listFolders(root)).toContainEqual({ id, madeAt: expect.any(Number) });

  await removeSandboxFolder(folder, () => undefined);

  expect(existsSync(doomed)).toBe(false);
  expect(listFolders(root).map((one) => one.id)).not.toContain(id);
});

/** Folders have names that end with a slash; a file without content is a symlink to the host's folder. */
function tarOf(files: Readonly<Record<string, string | undefined>>): Readable {
  const { readable, controller } = createTarPacker();
  const lay = async (): Promise<void> => {
    for (const [name, content] of Object.entries(files)) {
      const body = bytes(content ?? "");
      const isFolder = name.endsWith("/");
      const type = isFolder ? "directory" : content === undefined ? "symlink" : "file";
      const header = { name, type, size: body.length, ...(type === "symlink" && { linkname: victim }) } as const;
      const writer = controller.add(header).getWriter();
      if (type === "file") await writer.write(body);
      await writer.close();
    }
    controller.finalize();
  };
  lay().catch((thrown: unknown) => controller.error(thrown));
  return Readable.fromWeb(readable);
}
