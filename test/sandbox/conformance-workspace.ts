/** Conformance: the workspace as a whole: odd names, large files, removal, and that it comes back from a scan and a tar. */
import { createHash, randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { createTarPacker, type TarHeader } from "modern-tar";
import { describe, expect } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import type { Sandbox, ScannedEntry } from "../../sandbox/provider.ts";
import { bytes, run, text } from "./commands.ts";
import type { ConformanceTest } from "./conformance.ts";

const ODD_NAMES = [
  "ü/日本語/🙂.txt",
  " leading space",
  "trailing space ",
  "two\nlines",
  "-rf",
  "--help",
  ".hidden",
  "it's",
  'say "hi"',
  "back\\slash",
  "$(touch expanded)",
  "*",
  "a:b",
  "%2e%2e",
  "tab\there",
  "n".repeat(255),
];
const EVERYTHING = { skip: () => false, max: 1_000 };

export function describeWorkspace(test: ConformanceTest): void {
  describe("workspace", () => {
    test("names of every kind are written, read, listed, scanned and removed", async ({ given }) => {
      const { sandbox } = given;

      for (const name of ODD_NAMES) await sandbox.writeFile(`odd/${name}`, bytes(name));

      for (const name of ODD_NAMES) expect(text(await sandbox.readFile(`odd/${name}`))).toBe(name);
      const wanted = ODD_NAMES.map((name) => `odd/${name}`).toSorted();
      const listed = await sandbox.listFiles("odd", { depth: 9, max: 100 });
      const scanned = await sandbox.scan(EVERYTHING);
      expect(filesOf(listed)).toEqual(wanted);
      expect(filesOf(scanned)).toEqual(wanted);
      for (const name of ODD_NAMES) expect(await sandbox.removeFile(`odd/${name}`)).toBe(true);
      expect(filesOf(await sandbox.scan(EVERYTHING))).toEqual([]);
    });

    test("names that are no UTF-8 are listed with their bytes escaped, read, packed, laid again and removed", async ({
      given,
      skip,
    }) => {
      const { sandbox } = given;
      const made = await run(
        sandbox,
        `set -e; mkdir raw; cd raw; d=$(printf 'd\\377'); mkdir "$d"
        printf one >"$(printf 'caf\\351')"; printf two >"$d/$(printf '\\200 x')"; printf three >'lit\\xff'
        ln -s "$(printf 'to\\376')" link`,
      );
      if (made.end?.ended !== "exited" || made.end.exitCode !== 0) skip("this sandbox takes no such names");
      const names = ["raw/caf\\xe9", "raw/d\\xff", "raw/d\\xff/\\x80 x", "raw/link", "raw/lit\\x5cxff"];
      const inside = async (): Promise<string> =>
        text(
          (
            await run(
              sandbox,
              'cd raw && find . -exec sh -c \'for f; do printf "%s " "$f" | od -An -tx1; readlink "$f" | od -An -tx1; cat "$f" 2>/dev/null; done\' sh {} + | sort',
            )
          ).stdout,
        );
      const before = await inside();

      const scanned = (await sandbox.scan(EVERYTHING)).filter(({ path }) => path.startsWith("raw/"));
      const listed = await sandbox.listFiles("raw", { depth: 3, max: 100 });
      expect(scanned.map(({ path }) => path).toSorted()).toEqual(names);
      expect(listed.map(({ path }) => path).toSorted()).toEqual(names);
      expect(scanned.find(({ kind }) => kind === "symlink")?.target).toBe("to\\xfe");
      const contents = ["raw/caf\\xe9", "raw/d\\xff/\\x80 x", "raw/lit\\x5cxff"];
      expect(await Promise.all(contents.map(async (name) => text(await sandbox.readFile(name))))).toEqual([
        "one",
        "two",
        "three",
      ]);
      const packed = await collected(await sandbox.pack(contents));
      for (const name of ["raw/caf\\xe9", "raw/d\\xff", "raw/lit\\x5cxff"])
        expect(await sandbox.removeFile(name)).toBe(true);
      await sandbox.unpack(Readable.from([packed]));
      await sandbox.writeFile("raw/caf\\xe9", bytes("one"));

      expect(await inside()).toBe(before);
    });

    test("50 MB go in and out as a stream, byte for byte", async ({ given }) => {
      const { sandbox } = given;
      const block = Buffer.from(Array.from({ length: 1_000_003 }, (_, i) => (i * 31 + (i >> 8)) % 256));
      const blocks = Array.from({ length: 50 }, () => block);
      const wanted = createHash("sha256");
      for (const one of blocks) wanted.update(one);

      await sandbox.writeFile("big/file", Readable.from(blocks));

      const found = createHash("sha256");
      for await (const chunk of await sandbox.openFile("big/file")) found.update(chunk);
      expect(found.digest("hex")).toBe(wanted.digest("hex"));
      expect(await sandbox.stat("big/file")).toMatchObject({ kind: "file", bytes: 50 * block.length });
      expect(Buffer.from(await sandbox.readFile("big/file", { offset: block.length, length: 5 }))).toEqual(
        block.subarray(0, 5),
      );
    });

    test("a stream that breaks off leaves the file that was there", async ({ given }) => {
      const { sandbox } = given;
      await sandbox.writeFile("kept", bytes("old"));
      const broken = (): Readable =>
        Readable.from(
          (async function* () {
            yield Buffer.alloc(100_000);
            throw new Error("the client went away");
          })(),
        );

      await expect(sandbox.writeFile("kept", broken())).rejects.toMatchObject({ name: "SandboxError", kind: "failed" });
      await expect(sandbox.writeFile("new", broken())).rejects.toMatchObject({ name: "SandboxError", kind: "failed" });

      expect(text(await sandbox.readFile("kept"))).toBe("old");
      expect((await sandbox.scan(EVERYTHING)).map((entry) => entry.path)).toEqual(["kept"]);
    });

    test("files, folders with what is in them, and symlinks are removed, never what a symlink names", async ({
      given,
    }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir -p a/b full/deep locked; echo 1 > a/b/c; echo 2 > full/deep/f; ln -s ../a full/link");
      await run(
        sandbox,
        "ln -s a way; ln -s /etc out; mkfifo pipe; ln -s nowhere loose; touch locked/f; chmod 0 locked",
      );

      for (const path of ["full", "way", "out", "pipe", "loose", "locked"]) {
        expect([path, await sandbox.removeFile(path)]).toEqual([path, true]);
        expect([path, await sandbox.removeFile(path)]).toEqual([path, false]);
      }
      expect(await sandbox.removeFile("a/b/c/below")).toBe(false);
      expect(await sandbox.removeFile("nowhere/at/all")).toBe(false);

      expect((await sandbox.scan(EVERYTHING)).map((entry) => entry.path)).toEqual(["a", "a/b", "a/b/c"]);
      expect(text((await run(sandbox, "ls /etc/passwd")).stdout)).toBe("/etc/passwd\n");
    });

    test("the workspace itself, and what lies outside of it, is not removed", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "ln -s /etc out; mkdir in");

      for (const hostile of [".", "", "in/..", sandbox.workspace, "..", "../x", "/etc/passwd", "out/passwd", "a\0b"]) {
        await expect(sandbox.removeFile(hostile)).rejects.toMatchObject({ name: "SandboxError", kind: "denied" });
      }
      expect(text((await run(sandbox, "ls out/passwd")).stdout)).toBe("out/passwd\n");
    });

    test("what is too deep to be named is in no scan, and spoils none", async ({ given }) => {
      const { sandbox } = given;
      const level = "n".repeat(250);
      await run(
        sandbox,
        `echo kept > kept; for i in $(seq 20); do mkdir ${level}; cd ${level}; done; echo lost > lost`,
      );

      const paths = (await sandbox.scan(EVERYTHING)).map((entry) => entry.path);
      await run(sandbox, "rm -rf n*"); // Whoever removes the sandbox of a test may not reach that deep.

      expect(paths).toHaveLength(17);
      expect(Math.max(...paths.map((name) => name.length))).toBe(16 * 251 - 1);
    });

    test("a scan tells what a snapshot keeps, skips what it is told to, and has a bound", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir -p src empty node_modules/x; printf 12 > src/a; chmod 754 src/a; ln -s ../b src/link");
      await run(sandbox, "touch node_modules/x/y skipped.log; mkfifo src/pipe; touch -d @1700000000 src/a");
      const asked: string[] = [];
      const skip = (path: string): boolean => {
        asked.push(path);
        return path === "node_modules/" || path.endsWith(".log");
      };

      const entries = await sandbox.scan({ skip, max: 100 });

      expect(entries.map(({ path, kind, bytes: size, target }) => [path, kind, size, target])).toEqual([
        ["empty", "folder", 0, undefined],
        ["src", "folder", 0, undefined],
        ["src/a", "file", 2, undefined],
        ["src/link", "symlink", 0, "../b"],
      ]);
      expect(entries[2]).toMatchObject({ mode: 0o754, modifiedAt: 1_700_000_000_000 });
      expect(asked).not.toContain("node_modules/x/");
      await expect(sandbox.scan({ skip: () => false, max: 3 })).rejects.toMatchObject({ kind: "too_large" });
    });

    test("a version changes when a file is written, replaced or given another mode, and at no other time", async ({
      given,
    }) => {
      const { sandbox } = given;
      const version = async (): Promise<string> => {
        const entry = (await sandbox.scan(EVERYTHING)).find(({ path }) => path === "f");
        return `${entry?.version}`;
      };
      await sandbox.writeFile("f", bytes("one"));
      const versions = [await version(), await version()];
      expect(versions[0]).toBe(versions[1]);

      for (const change of [
        "printf two > f",
        "touch -d @1700000000 f; printf six > f; touch -d @1700000000 f",
        "rm f; printf two > f",
      ]) {
        await run(sandbox, `sleep 0.02; ${change}`);
        versions.push(await version());
      }
      await sandbox.writeFile("f", bytes("two"));
      versions.push(await version());

      expect(new Set(versions).size).toBe(5);
    });

    test("a workspace comes back from its scan and its tar, with modes, symlinks and empty folders", async ({
      given,
    }) => {
      const { provider, sandbox } = given;
      await run(
        sandbox,
        "umask 022; mkdir -p a/b/c empty 'sp ace'; echo one > a/b/c/f; printf '#!/bin/sh\\necho ran\\n' > run; chmod 755 run; chmod 600 a/b/c/f; chmod 700 empty; ln -s a/b/c/f link; ln -s /workspace/x abs; ln -s .. up; ln -s nowhere loose; : > 'sp ace/ü'; head -c 3000000 /dev/zero > large",
      );
      const long = `${"d".repeat(90)}/${"e".repeat(90)}/${"f".repeat(120)}`;
      await sandbox.writeFile(long, bytes("long"));
      const before = await sandbox.scan(EVERYTHING);
      const id: SandboxId = `sbx_${randomUUID()}`;
      const other = await provider.open(id);

      await other.unpack(await sandbox.pack(before.map(({ path }) => path)));

      expect((await other.scan(EVERYTHING)).map(kept)).toEqual(before.map(kept));
      expect(text((await run(other, "./run; cat link")).stdout)).toBe("ran\none\n");
      expect(text(await other.readFile(long))).toBe("long");
      await other.unpack(await sandbox.pack(before.map(({ path }) => path))); // Again over what is there.
      expect((await other.scan(EVERYTHING)).map(kept)).toEqual(before.map(kept));
      await other[Symbol.asyncDispose]();
      await provider.remove(id);
    });

    test("what stands in the way of an entry is replaced, and what is gone is left out of a tar", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir -p file/full link; touch file/full/x; echo f > folder; ln -s /etc other");

      await sandbox.unpack(
        tarOf(
          { name: "file", content: "1" },
          { name: "folder/", type: "directory", mode: 0o750 },
          { name: "folder/in", content: "2" },
          { name: "link", type: "symlink", linkname: "file" },
          { name: "other", content: "3" },
        ),
      );

      const listed = await run(sandbox, "cat file folder/in link other; ls /etc/passwd; stat -c %a folder");
      expect(text(listed.stdout)).toBe("1213/etc/passwd\n750\n");
      await sandbox.writeFile("left", bytes("x"));
      expect(await namesIn(await sandbox.pack(["gone", "left", "left/below"]))).toEqual(["left"]);
    });

    test("an entry that would leave the workspace is denied, whatever way it goes", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "ln -s /tmp way; ln -s ../.. up");
      const outside = `perdure-${randomUUID()}`;

      for (const hostile of [
        [{ name: `../${outside}`, content: "x" }],
        [{ name: `a/../../${outside}`, content: "x" }],
        [{ name: `/tmp/${outside}`, content: "x" }],
        [{ name: `way/${outside}`, content: "x" }],
        [{ name: `up/${outside}`, content: "x" }],
        [
          { name: "new", type: "symlink" as const, linkname: "/tmp" },
          { name: `new/${outside}`, content: "x" },
        ],
        [{ name: `../${outside}/`, type: "directory" as const }],
        [{ name: "hard", type: "link" as const, linkname: "/etc/passwd" }],
        [{ name: "device", type: "character-device" as const }],
        [{ name: "pipe", type: "fifo" as const }],
      ]) {
        await expect(sandbox.unpack(tarOf(...hostile))).rejects.toMatchObject({ name: "SandboxError", kind: "denied" });
      }

      expect(text((await run(sandbox, `ls /tmp ../.. | grep ${outside}; ls`)).stdout)).not.toContain(outside);
    });

    test("a tar that is cut, broken or not one at all is refused in words", async ({ given }) => {
      const { sandbox } = given;
      const failed = { name: "SandboxError", kind: "failed" };
      const whole = Buffer.concat(await tarOf({ name: "a", content: "x".repeat(5_000) }).toArray());
      const broken = Buffer.from(whole);
      broken[3] = 0xff;

      await expect(sandbox.unpack(Readable.from([whole.subarray(0, 3_000)]))).rejects.toMatchObject(failed);
      await expect(sandbox.unpack(Readable.from([broken]))).rejects.toMatchObject(failed);
      await expect(sandbox.unpack(Readable.from([Buffer.alloc(2_048, "no tar at all ")]))).rejects.toMatchObject(
        failed,
      );
      const source = Readable.from(
        (async function* () {
          yield whole.subarray(0, 1_024);
          throw new Error("the store went away");
        })(),
      );
      await expect(sandbox.unpack(source)).rejects.toMatchObject(failed);
    });
  });
}

const filesOf = (entries: readonly { readonly path: string; readonly kind: string }[]): readonly string[] =>
  entries
    .filter(({ kind }) => kind !== "folder")
    .map(({ path }) => path)
    .toSorted();

const kept = ({ path, kind, bytes: size, mode, target }: ScannedEntry): unknown =>
  kind === "symlink" ? [path, kind, target] : [path, kind, size, mode.toString(8)];

type GivenEntry = Partial<TarHeader> & { readonly name: string; readonly content?: string };

function tarOf(...entries: readonly GivenEntry[]): Readable {
  const { readable, controller } = createTarPacker();
  const add = async (): Promise<void> => {
    for (const { content = "", ...header } of entries) {
      const writer = controller.add({ mode: 0o644, type: "file", ...header, size: content.length }).getWriter();
      if (content !== "") await writer.write(bytes(content));
      await writer.close();
    }
    controller.finalize();
  };
  add().catch((thrown: unknown) => controller.error(thrown));
  return Readable.fromWeb(readable);
}

async function namesIn(tar: Awaited<ReturnType<Sandbox["pack"]>>): Promise<readonly string[]> {
  const { unpackTar } = await import("modern-tar");
  return (await unpackTar(Buffer.concat(await tar.toArray()))).map(({ header }) => header.name);
}

async function collected(stream: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}
