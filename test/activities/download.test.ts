/** Downloads: what is fetched is checked as a whole before any of it is seen, and nothing inside is reached by them. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DownloadError } from "../../activities/download-fetch.ts";
import { LIMITS } from "../../contract/limits.ts";
import { aDownloadWorkshop, type DownloadWorkshop } from "./download-workshop.ts";

let at: DownloadWorkshop;
beforeAll(async () => {
  at = await aDownloadWorkshop();
});
afterAll(async () => {
  await at[Symbol.asyncDispose]();
});

const sha256 = (content: Buffer | string): string => createHash("sha256").update(content).digest("hex");

describe("a file", () => {
  test("is written where the caller says, with its size and its sum", async () => {
    const content = Buffer.from([0, 1, 2, 255]);

    const { answer, workspace } = await at.tryDownload(
      { url: at.given(content), sha256: sha256(content).toUpperCase() },
      { path: "in/a folder/f.bin" },
    );

    expect(answer).toEqual({ found: "downloaded", bytes: 4, sha256: sha256(content) });
    expect(readFileSync(path.join(workspace, "in/a folder/f.bin"))).toEqual(content);
  });

  test("takes no name from the address or the answer", async () => {
    const url = at.served((_request, response) => {
      response.setHeader("Content-Disposition", 'attachment; filename="../../evil"').end("x");
    });

    const { workspace } = await at.tryDownload({ url });

    expect(readdirSync(workspace)).toEqual(["got"]);
  });

  test("with another sum than was told leaves what was there", async () => {
    const { error, workspace } = await at.tryDownload(
      { url: at.given("other"), sha256: sha256("this") },
      { before: (folder) => writeFileSync(path.join(folder, "got"), "before") },
    );

    expect(error).toMatchObject({ code: "CONFLICT", message: expect.stringContaining(sha256("other")) });
    expect(readFileSync(path.join(workspace, "got"), "utf8")).toBe("before");
  });

  test("below what is a file is refused as a conflict, and not as something that is missing", async () => {
    const { error } = await at.tryDownload(
      { url: at.given("x") },
      { path: "got/below", before: (folder) => writeFileSync(path.join(folder, "got"), "before") },
    );

    expect(error).toMatchObject({ kind: "failed" });
  });

  test("comes after redirects, each of them followed by hand", async () => {
    const end = at.given("the end");
    const second = at.served((_request, response) =>
      response.writeHead(307, { location: new URL(end).pathname }).end(),
    );
    const first = at.served((_request, response) => response.writeHead(302, { location: second }).end("elsewhere"));

    const { answer } = await at.tryDownload({ url: first });

    expect(answer).toMatchObject({ found: "downloaded", bytes: 7 });
  });
});

describe("what does not come", () => {
  test.each<[string, RequestListener, string, RegExp]>([
    ["another status", (_q, r) => r.writeHead(500).end("no"), "DOWNLOAD_FAILED", /status 500, expected 200/],
    ["a part", (_q, r) => r.writeHead(206).end("no"), "DOWNLOAD_FAILED", /status 206/],
    ["a redirect to nowhere", (_q, r) => r.writeHead(302).end(), "DOWNLOAD_FAILED", /nowhere/],
    [
      "a redirect to a file",
      (_q, r) => r.writeHead(302, { location: "file:///etc/passwd" }).end(),
      "DOWNLOAD_FAILED",
      /http/,
    ],
    [
      "a redirect with a user",
      (_q, r) => r.writeHead(302, { location: "http://a:b@x.example/" }).end(),
      "DOWNLOAD_FAILED",
      /no user/,
    ],
    [
      "a redirect for ever",
      (q, r) => r.writeHead(302, { location: q.url ?? "" }).end(),
      "DOWNLOAD_FAILED",
      /more than 5/,
    ],
    ["a connection cut before the answer", (q) => q.socket.destroy(), "DOWNLOAD_FAILED", /could not be reached/],
    [
      "a connection cut in the middle",
      (q, r) => {
        r.writeHead(200, { "content-length": "100" }).write("half");
        setTimeout(() => q.socket.destroy(), 20);
      },
      "DOWNLOAD_FAILED",
      /broke off/,
    ],
    [
      "more than there may be, told ahead",
      (_q, r) => void r.writeHead(200, { "content-length": String(LIMITS.fileBodyBytesMax + 1) }).write("x"),
      "PAYLOAD_TOO_LARGE",
      /at most/,
    ],
    [
      "a redirect inside",
      (_q, r) => r.writeHead(302, { location: "http://169.254.169.254/" }).end(),
      "FORBIDDEN",
      /metadata/,
    ],
    [
      "a redirect to another port",
      (_q, r) => r.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
      "FORBIDDEN",
      /loopback/,
    ],
  ])("%s is told in words", async (_name, listener, code, words) => {
    const { error, workspace } = await at.tryDownload({ url: at.served(listener) });

    expect(error).toMatchObject({ code, message: expect.stringMatching(words) });
    expect(readdirSync(workspace)).toEqual([]);
  });

  test.each([
    ["says nothing", (): void => undefined],
    [
      "drips",
      (_request: unknown, response: { write(text: string): void }): void => {
        const timer = setInterval(() => response.write("x"), 10);
        setTimeout(() => clearInterval(timer), 1_000);
      },
    ],
  ] as [string, RequestListener][])("a server that %s is left after the time it has", async (_name, listener) => {
    const begunAt = Date.now();

    const { error } = await at.tryDownload({ url: at.served(listener), timeoutMs: 150 });

    expect(error).toMatchObject({ code: "DOWNLOAD_FAILED", message: "it was not there after 150 ms" });
    expect(Date.now() - begunAt).toBeLessThan(15_000);
  });

  test("an attempt that is stopped ends with the reason, and not with a refusal", async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("this worker goes down")), 50);

    const { error } = await at.tryDownload({ url: at.served(() => undefined) }, { signal: stop.signal });

    expect(error).not.toBeInstanceOf(DownloadError);
  });
});

describe("addresses that are not public", () => {
  const reached: string[] = [];
  const resolve = async (host: string): Promise<readonly string[]> => {
    reached.push(host);
    return (
      { "inside.example": ["127.0.0.1"], "both.example": ["93.184.215.14", "10.0.0.7"], "none.example": [] }[host] ?? []
    );
  };

  test.each([
    ["http://127.0.0.1:1/", /127\.0\.0\.1 is an address that is not public \(loopback\)/],
    ["http://127.1:1/", /loopback/],
    ["http://2130706433:1/", /loopback/],
    ["http://0x7f.0.0.1:1/", /loopback/],
    ["http://[::1]:1/", /loopback/],
    ["http://[::ffff:127.0.0.1]:1/", /loopback/],
    ["http://0.0.0.0:1/", /unspecified/],
    ["http://10.1.2.3/", /private/],
    ["http://192.168.1.1/", /private/],
    ["http://169.254.169.254/latest/meta-data", /metadata/],
    ["http://169.254.1.1/", /link local/],
    ["http://100.64.0.1/", /shared/],
    ["http://[fe80::1]/", /link local/],
    ["http://[fd00::1]/", /private/],
    ["http://[64:ff9b::a00:1]/", /private/],
    ["http://inside.example:1/", /inside\.example leads to an address that is not public \(loopback\)/],
    ["http://both.example/", /private/],
  ])("%s is refused before a connection", async (url, words) => {
    const { error } = await at.tryDownload({ url }, { rules: { allow: [], resolve } });

    expect(error).toMatchObject({ code: "FORBIDDEN", message: expect.stringMatching(words) });
  });

  test("a name without an address is told", async () => {
    const { error } = await at.tryDownload({ url: "http://none.example/" }, { rules: { allow: [], resolve } });

    expect(error).toMatchObject({ code: "DOWNLOAD_FAILED", message: "the name none.example has no address" });
  });

  test("the operator allows a name, which is resolved once and connected to as it was resolved", async () => {
    const { port, pathname } = new URL(at.given("inside"));
    reached.length = 0;

    const { answer } = await at.tryDownload(
      { url: `http://inside.example:${port}${pathname}` },
      { rules: { allow: [`inside.example:${port}`], resolve } },
    );

    expect(answer).toMatchObject({ found: "downloaded", bytes: 6 });
    expect(reached).toEqual(["inside.example"]);
  });

  test.each(["inside.example:1", "example", "inside.example", "xinside.example:PORT"])(
    "an allowed %s does not stand for another",
    async (allowed) => {
      const { port } = new URL(at.origin);

      const { error } = await at.tryDownload(
        { url: `http://inside.example:${port}/` },
        { rules: { allow: [allowed.replace("PORT", port)], resolve } },
      );

      expect(error).toMatchObject({ code: "FORBIDDEN" });
    },
  );
});
