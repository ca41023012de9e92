/** Archives of strangers: laid in as a whole, or not at all, and never anywhere else. */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { aTar, aTarGz, aZip } from "./archive-builder.ts";
import { aDownloadWorkshop, type DownloadWorkshop } from "./download-workshop.ts";

let at: DownloadWorkshop;
beforeAll(async () => {
  at = await aDownloadWorkshop();
});
afterAll(async () => {
  await at[Symbol.asyncDispose]();
});

describe("an archive", () => {
  const ENTRIES = [
    { name: "top/", type: "directory" as const, mode: 0o755 },
    { name: "top/run.sh", content: "#!/bin/sh\n", mode: 0o4755 },
    { name: "top/deep/odd \n näme", content: "odd" },
    { name: "top/link", type: "symlink" as const, linkname: "run.sh" },
  ];

  test.each([
    ["tar", () => aTar(ENTRIES)],
    ["tar.gz", () => aTarGz(ENTRIES)],
    [
      "zip",
      () =>
        aZip([
          { name: "top/" },
          { name: "top/run.sh", content: "#!/bin/sh\n", mode: 0o104755 },
          { name: "top/deep/odd \n näme", content: "odd" },
          { name: "top/link", content: "run.sh", mode: 0o120777 },
        ]),
    ],
  ])("that is a %s is laid in with its modes and symlinks, and without setuid", async (_name, made) => {
    const { answer, workspace } = await at.tryDownload(
      { url: at.given(await made()), extract: true },
      { path: "into" },
    );

    expect(answer).toMatchObject({ found: "downloaded", files: 2 });
    const inTop = (name: string): string => path.join(workspace, "into/top", name);
    expect(statSync(inTop("run.sh")).mode & 0o7777).toBe(0o755);
    expect(readFileSync(inTop("deep/odd \n näme"), "utf8")).toBe("odd");
    expect(lstatSync(inTop("link")).isSymbolicLink()).toBe(true);
    expect(readFileSync(inTop("link"), "utf8")).toBe("#!/bin/sh\n");
  });

  test("goes into the workspace itself, among what is there, and replaces files", async () => {
    const { workspace } = await at.tryDownload(
      {
        url: at.given(
          await aTar([
            { name: "./a/new", content: "new" },
            { name: "a/old", content: "newer" },
          ]),
        ),
        extract: true,
      },
      {
        path: "",
        before: (folder) => {
          mkdirSync(path.join(folder, "a"));
          for (const name of ["old", "kept"]) writeFileSync(path.join(folder, "a", name), name);
        },
      },
    );

    const a = path.join(workspace, "a");
    expect(Object.fromEntries(readdirSync(a).map((name) => [name, readFileSync(path.join(a, name), "utf8")]))).toEqual({
      kept: "kept",
      new: "new",
      old: "newer",
    });
  });

  const good = { name: "good", content: "good" };
  test.each<[string, () => Promise<Buffer>, RegExp]>([
    ["an absolute path in a tar", () => aTar([good, { name: "/etc/evil", content: "x" }]), /absolute/],
    [".. in a tar", () => aTar([good, { name: "a/../../evil", content: "x" }]), /leads out by \.\./],
    ["a symlink out", () => aTar([good, { name: "l", type: "symlink", linkname: "../../x" }]), /out of its folder/],
    ["an absolute symlink", () => aTar([good, { name: "l", type: "symlink", linkname: "/etc" }]), /absolute path/],
    [
      "a symlink out by way of another",
      () =>
        aTar([
          { name: "a/b/up", type: "symlink", linkname: "../.." },
          { name: "out", type: "symlink", linkname: "a/b/up/../.." },
        ]),
      /with \.\. behind a name/,
    ],
    [
      "a file behind a symlink",
      () =>
        aTar([
          { name: "l", type: "symlink", linkname: "." },
          { name: "l/evil", content: "x" },
        ]),
      /is a symlink and a folder/,
    ],
    ["a hard link", () => aTar([good, { name: "h", type: "link", linkname: "/etc/passwd" }]), /is a link; only/],
    ["a device", () => aTar([good, { name: "d", type: "character-device" }]), /is a character-device; only/],
    ["a pipe", () => aTar([good, { name: "p", type: "fifo" }]), /is a fifo; only/],
    ["a file that is a folder, too", () => aTar([good, { name: "good/x", content: "x" }]), /is a file and a folder/],
    ["a long name", () => aTar([good, { name: "n".repeat(300), content: "x" }]), /too long a name/],
    [
      "a tar that breaks off",
      async () => (await aTar([good, { name: "b", content: "x".repeat(9_000) }])).subarray(0, 4_000),
      /to its end/,
    ],
    ["a tar.gz that breaks off", async () => (await aTarGz([good])).subarray(0, 60), /to its end/],
    ["what is no archive", async () => Buffer.from("<html>not found</html>".repeat(100)), /no zip, tar or tar\.gz/],
    ["nothing", async () => Buffer.alloc(0), /no zip, tar or tar\.gz/],
    ["an absolute path in a zip", () => aZip([good, { name: "Xetc/evil" }], { "Xetc/evil": "/etc/evil" }), /absolute/],
    [".. in a zip", () => aZip([good, { name: "ab/evil" }], { "ab/evil": "../evil" }), /relative path/],
    ["a backslash in a zip", () => aZip([good, { name: "ab/evil" }], { "ab/evil": "..\\evil" }), /invalid characters/],
    [
      "a symlink out of a zip",
      () => aZip([good, { name: "l", content: "../../x", mode: 0o120777 }]),
      /out of its folder/,
    ],
    ["a device in a zip", () => aZip([good, { name: "d", mode: 0o020666 }]), /no file, folder or symlink/],
    [
      "a zip whose content was changed",
      () => aZip([{ name: "f", content: "as it was", stored: true }], { "as it was": "as it is." }),
      /damaged/,
    ],
    ["a zip that breaks off", async () => (await aZip([good])).subarray(0, 40), /zip cannot be read/],
  ])("with %s is refused, and nothing of it is laid in", async (_name, made, words) => {
    const { error, workspace } = await at.tryDownload({ url: at.given(await made()), extract: true });

    expect(error).toMatchObject({ code: "ARCHIVE_REFUSED", message: expect.stringMatching(words) });
    expect(readdirSync(workspace)).toEqual([]);
    expect(existsSync(path.join(workspace, "../evil"))).toBe(false);
  });

  test.each<[string, () => Promise<Buffer>]>([
    ["zip", () => aZip([{ name: "zeros", content: Buffer.alloc(48 * 1024 * 1024) }])],
    ["tar.gz", async () => gzipSync(await aTar([{ name: "zeros", content: Buffer.alloc(48 * 1024 * 1024) }]))],
    [
      "tar.gz that grows behind its end",
      async () => gzipSync(Buffer.concat([await aTar([good]), Buffer.alloc(48 * 1024 * 1024)])),
    ],
  ])("that is a bomb, a %s, is refused while it grows", async (_name, made) => {
    const { error, workspace } = await at.tryDownload({ url: at.given(await made()), extract: true });

    expect(error).toMatchObject({ code: "PAYLOAD_TOO_LARGE", message: expect.stringContaining("200 times") });
    expect(readdirSync(workspace)).toEqual([]);
  });

  test("with paths so deep that their folders are millions is refused", async () => {
    const deep = Array.from({ length: 12 }, (_, i) => ({ name: `${i}${"/d".repeat(2_000)}`, content: "x" }));

    const { error, workspace } = await at.tryDownload({ url: at.given(await aTarGz(deep)), extract: true });

    expect(error).toMatchObject({ code: "PAYLOAD_TOO_LARGE", message: expect.stringContaining("too long paths") });
    expect(readdirSync(workspace)).toEqual([]);
  });

  test.each<[string, (folder: string) => void, RegExp]>([
    [
      "a file where it has a folder",
      (folder) => writeFileSync(path.join(folder, "a"), "mine"),
      /a file is in the place of the folder a/,
    ],
    [
      "a folder where it has a file",
      (folder) => mkdirSync(path.join(folder, "a/b"), { recursive: true }),
      /the file a\/b/,
    ],
  ])("is not laid in by half: %s", async (_name, before, words) => {
    const url = at.given(
      await aTar([
        { name: "0", content: "first" },
        { name: "a/b", content: "x" },
      ]),
    );

    const { error, workspace } = await at.tryDownload({ url, extract: true }, { path: "", before });

    expect(error).toMatchObject({ kind: "failed", message: expect.stringMatching(words) });
    expect(readdirSync(workspace)).toEqual(["a"]);
  });
});
