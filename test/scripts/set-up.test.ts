/** The set-up before every script: finding Temporal by each of its ways, installing when needed, two at once, and clear words when nothing works. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { ensureDependencies } from "../../scripts/dependencies.mjs";
import { getTemporal } from "../../scripts/get-temporal.mjs";
import { withLock } from "../../scripts/lock.mjs";

const GOOD = "#!/bin/sh\necho 'temporal version 1.8.2 (Server 1.31.2, UI 2.50.1)'\n";
const OLD = "#!/bin/sh\necho 'temporal version 0.9.0 (Server 1.20.0, UI 2.0.0)'\n";
const FOREIGN = "#!/bin/sh\necho 'a tool for temporal logic'\n";
/** A port where nobody listens: the download fails at once. */
const NOWHERE = "http://127.0.0.1:1";

describe("finding Temporal", () => {
  test("a temporal on the PATH is used, and nothing is made", async () => {
    using folder = new Folder();
    const file = folder.program("bin/temporal", GOOD);

    expect(await getTemporal({ ...nothing(folder), searchPath: folder.file("bin") })).toBe(file);
    expect(existsSync(folder.file("cache"))).toBe(false);
  });

  test.each([
    ["is too old", OLD],
    ["is something else", FOREIGN],
    ["does not run", "#!/bin/sh\nexit 1\n"],
  ])("a temporal on the PATH that %s is passed over for a built one", async (_name, code) => {
    using folder = new Folder();
    folder.program("bin/temporal", code);

    const file = await getTemporal({ ...nothing(folder), searchPath: folder.file("bin"), build: builds(GOOD) });

    expect(path.dirname(file)).toBe(folder.file("cache"));
  });

  test("the official download is unpacked, checked and kept", async () => {
    using folder = new Folder();
    const archive = tarOf("temporal", GOOD);
    await using server = await downloadServer(archive);
    const sha256 = digest(archive);

    const file = await getTemporal({ ...nothing(folder), downloadBase: server.url, sha256 });
    await getTemporal({ ...nothing(folder), downloadBase: server.url, sha256 });

    expect(readFileSync(file, "utf8")).toBe(GOOD);
    expect(server.asked()).toBe(2); // The question and the archive, once each: the second time it is in the cache.
  });

  test.each([
    ["ends in the middle", (whole: Buffer) => gzipSync(whole.subarray(0, 600))],
    ["is not an archive", () => Buffer.from("<html>please log in</html>")],
    ["holds something else", () => gzipSync(tar("README", "hello"))],
    ["holds a binary that does not start", () => gzipSync(tar("temporal", "#!/bin/sh\nexit 1\n"))],
  ])("a download that %s is not kept, and the next way is tried", async (_name, spoil) => {
    using folder = new Folder();
    const archive = spoil(tar("temporal", GOOD.padEnd(5_000)));
    await using server = await downloadServer(archive);
    const download = { downloadBase: server.url, sha256: digest(archive) };

    const file = await getTemporal({ ...nothing(folder), ...download, build: builds(GOOD) });

    expect(readFileSync(file, "utf8")).toBe(GOOD);
    expect(readdirSync(folder.file("cache"))).toEqual([path.basename(file)]);
  });

  test.each([
    ["whose hash nobody knows is not even asked for", "", /not tried, since nobody has pinned/, 0],
    ["of another hash is never run", "0".repeat(64), /has the SHA-256 [0-9a-f]{64}, expected 0{64}: it is not used/, 2],
    ["is refused where the hash is none", "latest", /must be 64 hex digits/, 0],
  ])("a download %s", async (_name, sha256, words, asked) => {
    using folder = new Folder();
    await using server = await downloadServer(tarOf("temporal", `#!/bin/sh\ntouch ${folder.file("ran")}\n${GOOD}`));

    await expect(getTemporal({ ...nothing(folder), downloadBase: server.url, sha256 })).rejects.toThrow(words);

    expect(server.asked()).toBe(asked);
    expect(existsSync(folder.file("ran"))).toBe(false);
    expect(readdirSync(folder.file("cache"))).toEqual([]);
  });

  test("half a file in the cache is replaced", async () => {
    using folder = new Folder();
    const file = await getTemporal({ ...nothing(folder), build: builds(GOOD) });
    writeFileSync(file, "#!/bin/sh\nexit 1\n");

    await getTemporal({ ...nothing(folder), build: builds(GOOD) });

    expect(readFileSync(file, "utf8")).toBe(GOOD);
  });

  test("what was built from the same version in another way before is not used", async () => {
    using folder = new Folder();
    folder.program(`cache/temporal-1.8.2-${process.platform}-${process.arch}`, GOOD);

    const file = await getTemporal({ ...nothing(folder), build: builds(`${GOOD}# closed\n`) });

    expect(readFileSync(file, "utf8")).toContain("# closed");
  });

  test("two at once build once", async () => {
    using folder = new Folder();
    let builtTimes = 0;
    const build = async (options: { target: string }): Promise<void> => {
      builtTimes += 1;
      await builds(GOOD)(options);
    };

    const files = await Promise.all([1, 2, 3].map(() => getTemporal({ ...nothing(folder), build })));

    expect(new Set(files).size).toBe(1);
    expect(builtTimes).toBe(1);
  });

  test("when nothing works it says why for each way, and what to install", async () => {
    using folder = new Folder();
    const build = (): Promise<void> => Promise.reject(new Error("there is no Go on the PATH"));

    const attempt = getTemporal({ ...nothing(folder), build });

    await expect(attempt).rejects.toThrow(
      /PATH: .*\n.*download: not tried.*\n.*Go: there is no Go.*\n.*install.*TEMPORAL_ADDRESS/s,
    );
    expect(readdirSync(folder.file("cache"))).toEqual([]);
  });
});

describe("the lock", () => {
  test("a dead holder's lock is taken over", async () => {
    using folder = new Folder();
    const { pid } = await ended();
    writeFileSync(folder.file("lock"), `${pid} ${hostname()}\n`);

    expect(await withLock({ file: folder.file("lock"), isDone: never }, async () => "done")).toBe("done");
    expect(existsSync(folder.file("lock"))).toBe(false);
  });

  test("a holder on another machine is dead when it has not touched its lock for long", async () => {
    using folder = new Folder();
    writeFileSync(folder.file("lock"), "1 elsewhere\n");
    const longAgo = new Date(Date.now() - 60_000);
    utimesSync(folder.file("lock"), longAgo, longAgo);

    expect(await withLock({ file: folder.file("lock"), isDone: never }, async () => "done")).toBe("done");
  });

  test("a lock is free again when the work fails", async () => {
    using folder = new Folder();
    const file = folder.file("lock");

    await expect(withLock({ file, isDone: never }, () => Promise.reject(new Error("no")))).rejects.toThrow("no");

    expect(existsSync(file)).toBe(false);
  });
});

describe("the packages", () => {
  test("nothing is installed when what npm wrote down last is what is locked", async () => {
    using project = new Project({ "node_modules/a": "1.0.0" }, { "node_modules/a": "1.0.0" });
    expect(await project.setUp()).toEqual([]);
  });

  test.each([
    ["is missing", {}],
    ["has another version", { "node_modules/a": "0.9.0" }],
  ])("everything is installed when a package %s", async (_name, installed) => {
    using project = new Project({ "node_modules/a": "1.0.0" }, installed);

    expect(await project.setUp()).toEqual(["ci --include=dev --ignore-scripts --no-audit --no-fund"]);
    expect(await project.setUp()).toEqual([]);
  });

  test("a lock file that has changed since is installed again", async () => {
    using project = new Project({ "node_modules/a": "1.0.0" }, {});
    await project.setUp();
    project.lock({ "node_modules/a": "1.1.0" });
    expect(await project.setUp()).toHaveLength(1);
  });

  test("what npm said is told when it fails", async () => {
    using project = new Project({ "node_modules/a": "1.0.0" }, {}, "echo 'no network here' >&2; exit 1");
    await expect(project.setUp()).rejects.toThrow(/npm ci failed \(code 1\):\nno network here/);
  });

  test("a package that was installed without a hash is told", async () => {
    using project = new Project({ "node_modules/a": "1.0.0" }, {}, NPM_THAT_INSTALLS);
    const said: string[] = [];

    await ensureDependencies({ root: project.path, onProgress: (line: string) => said.push(line) });

    expect(said).toContain("a 1.0.0 has no hash in package-lock.json: it was not checked");
  });

  test("every package of the lock file has its hash, but for optional ones that the registry did not have when it was made", () => {
    const without = locked().filter(([name, one]) => name.startsWith("node_modules/") && !one.link && !one.integrity);

    expect(without.filter(([, one]) => !one.optional)).toEqual([]);
    expect(without.map(([name]) => name.replace(/-(?:darwin|linux|linuxmusl|win32)-\w+$/, "-…"))).toEqual([
      ...new Array(6).fill("node_modules/@cbor-extract/cbor-extract-…"),
      ...new Array(6).fill("node_modules/@github/copilot-sdk-…"),
    ]);
  });

  test("no package's own script is run, and none that has one needs it", () => {
    expect(readFileSync(".npmrc", "utf8")).toContain("ignore-scripts=true");
    const named = new Set(
      locked().flatMap(([name, one]) => (one.hasInstallScript ? [name.replace(/.*node_modules\//, "")] : [])),
    );
    expect([...named].toSorted()).toEqual(Object.keys(WITHOUT_THEIR_SCRIPTS));
  });

  test("npm runs no script before another one when scripts are off, so each sets up by itself", () => {
    const { scripts } = JSON.parse(readFileSync("package.json", "utf8"));
    for (const [name, line] of Object.entries<string>(scripts)) {
      expect(`${name}: ${line}`).toMatch(/^\w+: node scripts\/setup\.mjs (?:--no-temporal )?&& (?!node )/);
    }
  });

  test("the lock file holds every optional package of every platform, or npm ci refuses it", () => {
    const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
    const missing = Object.entries<{ optionalDependencies?: object }>(packages).flatMap(([name, one]) =>
      Object.keys(one.optionalDependencies ?? {}).filter(
        (other) => !packages[`node_modules/${other}`] && !packages[`${name}/node_modules/${other}`],
      ),
    );
    expect(missing).toEqual([]);
  });
});

/** Why a package works without its script. A new one is looked at before it is listed. */
const WITHOUT_THEIR_SCRIPTS = {
  "@swc/core": "its script only gets another build where the platform has none",
  "cbor-extract": "optional: cbor-x is slower without",
  "cpu-features": "optional: ssh2, which dockerode uses for remote hosts, is slower without",
  koffi: "its builds come as packages of their own",
  protobufjs: "its script only warns of versions",
  ssh2: "its script builds an optional part",
};

interface Locked {
  readonly link?: boolean;
  readonly integrity?: string;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
}

function locked(): [string, Locked][] {
  return Object.entries<Locked>(JSON.parse(readFileSync("package-lock.json", "utf8")).packages);
}

const NPM_THAT_INSTALLS = `echo '{"packages":{"node_modules/a":{"version":"1.0.0"}}}' >node_modules/.package-lock.json`;

function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

class Folder implements Disposable {
  readonly path = mkdtempSync(path.join(tmpdir(), "perdure-set-up-"));

  file(name: string): string {
    return path.join(this.path, name);
  }

  program(name: string, code: string): string {
    mkdirSync(path.dirname(this.file(name)), { recursive: true });
    writeFileSync(this.file(name), code);
    chmodSync(this.file(name), 0o755);
    return this.file(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A project with a lock file, perhaps with packages, and with an npm on the PATH that only writes down what it was told. */
class Project extends Folder {
  readonly #searchPath: string | undefined = process.env["PATH"];

  constructor(locked: Record<string, string>, installed: Record<string, string>, npm = "") {
    super();
    this.lock(locked);
    mkdirSync(this.file("node_modules"));
    writeFileSync(this.file("node_modules/.package-lock.json"), packagesFile(installed));
    this.program("bin/npm", `#!/bin/sh\n${npm}\necho "$*" >>calls\n`);
    process.env["PATH"] =
      `${this.file("bin")}${path.delimiter}${path.dirname(process.execPath)}${path.delimiter}/usr/bin:/bin`;
  }

  lock(packages: Record<string, string>): void {
    writeFileSync(this.file("package-lock.json"), packagesFile(packages));
  }

  /** Runs the set-up of packages and answers with the npm commands it ran. */
  async setUp(): Promise<string[]> {
    rmSync(this.file("calls"), { force: true });
    await ensureDependencies({ root: this.path, onProgress: () => undefined });
    return existsSync(this.file("calls")) ? readFileSync(this.file("calls"), "utf8").trim().split("\n") : [];
  }

  override [Symbol.dispose](): void {
    process.env["PATH"] = this.#searchPath;
    super[Symbol.dispose]();
  }
}

function packagesFile(packages: Record<string, string>): string {
  const entries = Object.entries(packages).map(([name, version]) => [name, { version }]);
  return JSON.stringify({ packages: Object.fromEntries([["", {}], ...entries]) });
}

/** No way works, but for what a test adds. */
function nothing(folder: Folder): {
  cacheDir: string;
  searchPath: string;
  downloadBase: string;
  build: () => Promise<void>;
} {
  const build = (): Promise<void> => Promise.reject(new Error("no Go"));
  return { cacheDir: folder.file("cache"), searchPath: folder.file("empty"), downloadBase: NOWHERE, build };
}

function builds(code: string) {
  return async ({ target }: { target: string }): Promise<void> => writeFileSync(target, code);
}

async function never(): Promise<undefined> {
  return undefined;
}

async function ended(): Promise<{ pid: number }> {
  const running = promisify(execFile)("true");
  const { pid = -1 } = running.child;
  await running;
  return { pid };
}

/** A tar archive of one file, as small as the format allows. */
function tar(name: string, content: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(content.length.toString(8).padStart(11, "0"), 124);
  header.write("0", 156);
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512);
  body.write(content);
  return Buffer.concat([header, body, Buffer.alloc(1024)]);
}

function tarOf(name: string, content: string): Buffer {
  return gzipSync(tar(name, content));
}

async function downloadServer(archive: Buffer): Promise<AsyncDisposable & { readonly url: string; asked(): number }> {
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    const answer = { archiveUrl: `http://${request.headers.host}/archive`, fileToExtract: "temporal" };
    response.end(request.url === "/archive" ? archive : JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked: () => asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
