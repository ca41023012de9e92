/** Conformance: the files of the workspace, and that no path leads out of it. */
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { bytes, newCallId, run, startedCommand, text, watch } from "./commands.ts";
import type { ConformanceTest, Given } from "./conformance.ts";

export function describeFiles(test: ConformanceTest): void {
  describe("files", () => {
    test("a file that was written is read, by its relative and its absolute path, by us and by commands", async ({
      given,
    }) => {
      const { sandbox } = given;

      await sandbox.writeFile("a/b/ü.txt", bytes("content\n"));

      expect(text(await sandbox.readFile("a/b/ü.txt"))).toBe("content\n");
      expect(text(await sandbox.readFile(`${sandbox.workspace}/a/b/ü.txt`))).toBe("content\n");
      expect(text((await run(sandbox, "cat a/b/ü.txt")).stdout)).toBe("content\n");
    });

    test("a range of a file is read, and what is beyond its end is empty", async ({ given }) => {
      const { sandbox } = given;
      await sandbox.writeFile("f", bytes("0123456789"));

      expect(text(await sandbox.readFile("f", { offset: 2, length: 3 }))).toBe("234");
      expect(text(await sandbox.readFile("f", { offset: 8, length: 30 }))).toBe("89");
      expect(text(await sandbox.readFile("f", { offset: 8 }))).toBe("89");
      expect(await sandbox.readFile("f", { offset: 10 })).toHaveLength(0);
      expect(await sandbox.readFile("f", { offset: 99, length: 1 })).toHaveLength(0);
    });

    test("a file that is too large to be read at once says so, and is read in ranges and as a stream", async ({
      given,
    }) => {
      const { sandbox } = given;
      const size = LIMITS.fileReadBytesMax + 1;
      await run(sandbox, `truncate -s ${size} big; printf end >> big`);

      await expect(sandbox.readFile("big")).rejects.toMatchObject({ kind: "too_large" });
      expect(text(await sandbox.readFile("big", { offset: size }))).toBe("end");
      expect((await buffer(await sandbox.openFile("big"))).length).toBe(size + 3);
    });

    test("writing replaces a file at once and keeps its mode", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "printf '#!/bin/sh\\necho one' > script; chmod 751 script; ln script other-name");

      await sandbox.writeFile("script", bytes("#!/bin/sh\necho two"));

      expect(text((await run(sandbox, "./script; stat -c %a script; cat other-name")).stdout)).toBe(
        "two\n751\n#!/bin/sh\necho one",
      );
    });

    test("a reader never sees half of a write, and nothing is left lying about", async ({ given }) => {
      const { sandbox } = given;
      const versions = ["a".repeat(300_000), "b".repeat(300_000)];
      await sandbox.writeFile("f", bytes(versions[0] ?? ""));

      const writing = Promise.all(versions.map((version) => sandbox.writeFile("f", bytes(version))));
      const seen = await Promise.all(Array.from({ length: 20 }, () => sandbox.readFile("f")));
      await writing;

      for (const one of seen) expect(versions).toContain(text(one));
      expect((await sandbox.listFiles(".", { depth: 3, max: 100 })).map((entry) => entry.path)).toEqual(["f"]);
    });

    test("what is not there, a folder, and what is no regular file are told apart", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir folder; mkfifo fifo; echo x > file");

      await expect(sandbox.readFile("missing")).rejects.toMatchObject({ kind: "not_found" });
      await expect(sandbox.readFile("file/below")).rejects.toMatchObject({ kind: "not_found" });
      await expect(sandbox.readFile("folder")).rejects.toMatchObject({ kind: "is_folder" });
      await expect(sandbox.openFile("missing")).rejects.toMatchObject({ kind: "not_found" });
      await expect(sandbox.readFile("fifo")).rejects.toMatchObject({ kind: "failed" });
      await expect(sandbox.writeFile("folder", bytes("x"))).rejects.toMatchObject({ kind: "is_folder" });
      await expect(sandbox.writeFile(".", bytes("x"))).rejects.toMatchObject({ kind: "is_folder" });
      await expect(sandbox.writeFile("file/below", bytes("x"))).rejects.toMatchObject({ kind: "not_found" });
      await expect(sandbox.writeFile("fifo", bytes("x"))).rejects.toMatchObject({ kind: "denied" });
      await expect(sandbox.listFiles("file", { depth: 1, max: 9 })).rejects.toMatchObject({ kind: "not_found" });
    });

    test("a stream is closed whatever comes of it, and one that fails when it was refused ends nothing", async ({
      given,
    }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir folder; echo x > file");
      const refused: readonly [(content: Readable) => Promise<void>, string][] = [
        [(content) => sandbox.writeFile("folder", content), "is_folder"],
        [(content) => sandbox.writeFile("file/below", content), "not_found"],
        [(content) => sandbox.writeFile("../out", content), "denied"],
        [(content) => sandbox.unpack(content), "failed"],
      ];

      for (const [take, kind] of refused) {
        const content = new Readable({ read: () => undefined });
        content.push(Buffer.alloc(2_048, "no tar "));
        content.push(null);
        await expect(take(content)).rejects.toMatchObject({ name: "SandboxError", kind });
        expect(content.destroyed).toBe(true);
        content.emit("error", new Error("too late"));
      }
      const content = Readable.from([bytes("whole")]);
      await sandbox.writeFile("new", content);
      expect(content.destroyed).toBe(true);
    });

    test("stat tells kind, size and time, and undefined for what is not there", async ({ given }) => {
      const { sandbox } = given;
      await run(sandbox, "printf 12345 > file; touch -d @1700000000 file; mkdir folder; ln -s file link; mkfifo fifo");

      expect(await sandbox.stat("file")).toEqual({ kind: "file", bytes: 5, modifiedAt: 1_700_000_000_000 });
      expect(await sandbox.stat("link")).toEqual(await sandbox.stat("file"));
      expect(await sandbox.stat("folder")).toMatchObject({ kind: "folder" });
      expect(await sandbox.stat("fifo")).toMatchObject({ kind: "other" });
      expect(await sandbox.stat(".")).toMatchObject({ kind: "folder" });
      expect(await sandbox.stat("missing/too")).toBeUndefined();
    });

    test("folders are listed depth-first by name, to a depth and a count, with links named and not followed", async ({
      given,
    }) => {
      const { sandbox } = given;
      await run(sandbox, "mkdir -p b/c/d; touch b/c/deep a z 'b/sp ace'; ln -s / link; ln -s b loop");
      const list = async (depth: number, max: number, from = ".") =>
        (await sandbox.listFiles(from, { depth, max })).map((entry) => `${entry.kind} ${entry.path}`);

      expect(await list(2, 99)).toEqual([
        "file a",
        "folder b",
        "folder b/c",
        "file b/sp ace",
        "symlink link",
        "symlink loop",
        "file z",
      ]);
      expect(await list(1, 2)).toEqual(["file a", "folder b"]);
      expect(await list(9, 99, "b/c")).toEqual(["folder b/c/d", "file b/c/deep"]);
      await expect(list(1, 9, "link")).rejects.toMatchObject({ kind: "denied" });
      await expect(list(1, 9, "missing")).rejects.toMatchObject({ kind: "not_found" });
    });

    test("a file is written through a symlink inside, and the link stays a link", async ({ given }) => {
      const { sandbox } = given;
      await run(
        sandbox,
        "mkdir real; echo old > real/file; ln -s real alias; ln -s real/file short; ln -s real/new hop",
      );

      await sandbox.writeFile("alias/file", bytes("1"));
      await sandbox.writeFile("hop", bytes("2"));
      await sandbox.writeFile("short", bytes("3"));

      expect(text((await run(sandbox, "cat real/file real/new; readlink short hop")).stdout)).toBe(
        "32real/file\nreal/new\n",
      );
    });
  });

  describe("containment", () => {
    const OUTSIDE = [
      "..",
      "../x",
      "a/../../x",
      "/etc/passwd",
      "/",
      "b/../../../etc/passwd",
      "\0",
      "a\0b",
      "x".repeat(5_000),
    ];

    test("every path that leads out is denied", async ({ given }) => {
      for (const hostile of OUTSIDE) await expectDenied(given, hostile);
    });

    const LINKS: readonly (readonly [name: string, command: string, path: string])[] = [
      ["a symlink to a file outside", "ln -s /etc/passwd evil", "evil"],
      ["a symlink to a folder outside", "ln -s /etc evil", "evil/passwd"],
      ["a relative symlink outside", "ln -s ../../../../../../etc evil", "evil/passwd"],
      ["a symlink in a parent folder", "mkdir -p a/b; ln -s /tmp a/b/evil", "a/b/evil/c/d"],
      ["a chain of symlinks", "ln -s two one; ln -s three two; ln -s /etc three", "one/passwd"],
      ["a symlink to nowhere outside", "ln -s /tmp/perdure-no-such-file evil", "evil"],
      ["a symlink to nowhere through another", "ln -s /tmp tmp; ln -s tmp/perdure-no-such-file evil", "evil"],
      ["a symlink to the folder above", "ln -s ../.. evil", "evil/calls/x"],
      ["a symlink with the root as its target", "ln -s / evil", "evil/etc/passwd"],
      ["a symlink to this process", "ln -s /proc/self/root evil", "evil/etc/passwd"],
      ["a loop of symlinks", "ln -s b a; ln -s a b", "a"],
    ];

    test("every symlink that leads out is denied", async ({ given }) => {
      const { sandbox } = given;
      const made = LINKS.map(([, command], i) => `mkdir ${i}; (cd ${i}; ${command})`).join("\n");
      expect((await run(sandbox, made)).end).toMatchObject({ ended: "exited", exitCode: 0 });

      for (const [i, [, , hostile]] of LINKS.entries()) await expectDenied(given, `${i}/${hostile}`);
    });

    test("a symlink that changes between inside and outside never lets a write out", async ({ given }) => {
      const { sandbox } = given;
      const outside = `/tmp/perdure-outside-${newCallId()}`;
      const swapping = `while [ ! -e stop ]; do ln -sfn ${outside} way; ln -sfn inside way; done`;
      const callId = await startedCommand(
        sandbox,
        `mkdir -p inside ${outside}; echo up; ${swapping}; ls ${outside}; rm -r ${outside}`,
      );

      for (let i = 0; i < 200; i++) {
        await sandbox.writeFile(`way/f${i}`, bytes("x")).catch((thrown: unknown) => {
          expect(thrown).toMatchObject({ name: "SandboxError" });
        });
      }
      await sandbox.writeFile("stop", bytes(""));

      expect(text((await watch(sandbox, callId)).stdout)).toBe("up\n");
    });
  });
}

async function expectDenied({ sandbox }: Given, hostile: string): Promise<void> {
  const denied = { name: "SandboxError", kind: "denied" };
  await expect(sandbox.readFile(hostile)).rejects.toMatchObject(denied);
  await expect(sandbox.openFile(hostile)).rejects.toMatchObject(denied);
  await expect(sandbox.stat(hostile)).rejects.toMatchObject(denied);
  await expect(sandbox.listFiles(hostile, { depth: 1, max: 1 })).rejects.toMatchObject(denied);
  await expect(sandbox.writeFile(hostile, bytes("x"))).rejects.toMatchObject(denied);
}
