/**
 * Finds or gets the `temporal` binary: on the PATH, in the project's cache, by the official download (checked by its SHA-256), built by Go.
 * Plain JavaScript on Node 20 with built-ins only. Several processes may ask at once: one works, the others wait.
 */
import { execFile } from "node:child_process";
import { access, chmod, constants, mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withLock } from "./lock.mjs";
import { BUILD, buildTemporal } from "./temporal-build.mjs";
import { downloadTemporal } from "./temporal-download.mjs";
import { isOlder } from "./version-order.mjs";

/** Holds server 1.31.2. */
const VERSION = "1.8.2";
/** An older server on the PATH is not used: it does not know what we ask of it. */
const SERVER_MIN = [1, 29, 0];
const DOWNLOAD_BASE = "https://temporal.download";
const CACHE = fileURLToPath(new URL("../.cache/temporal", import.meta.url));
const LEFT_OVER_MS = 3_600_000;
const PROBE_TIMEOUT_MS = 20_000;

/**
 * The path of a binary that was seen to start.
 * @param {{ cacheDir?: string, log?: (line: string) => void, searchPath?: string, downloadBase?: string, sha256?: string | undefined, build?: typeof buildTemporal }} options
 * @returns {Promise<string>}
 * @throws Error that says for each way why it failed, and what to install.
 */
export async function getTemporal(options = {}) {
  const { cacheDir = CACHE, log = () => undefined, searchPath = process.env.PATH ?? "" } = options;
  const { downloadBase = DOWNLOAD_BASE, build = buildTemporal, sha256 = process.env.PERDURE_TEMPORAL_SHA256 } = options;
  const from = { version: VERSION, base: downloadBase, sha256, onProgress: log };
  const reasons = [];
  const fromPath = await onPath(searchPath).catch((error) => void reasons.push(`PATH: ${error.message}`));
  if (fromPath) return fromPath;

  const target = path.join(cacheDir, `temporal-${VERSION}-${BUILD}-${process.platform}-${process.arch}`);
  const cached = () => usable(target, log);
  const hit = await cached();
  if (hit) return hit;

  await mkdir(cacheDir, { recursive: true });
  const onWait = (pid) => log(`waiting for process ${pid}, which is getting Temporal`);
  return withLock({ file: `${target}.lock`, isDone: cached, onWait }, async () => {
    await removeLeftOvers(cacheDir);
    const ways = [
      ["download", (out) => downloadTemporal({ ...from, target: out })],
      ["Go", (out) => build({ version: VERSION, target: out, folder: path.dirname(out), onProgress: log })],
    ];
    for (const [name, make] of ways) {
      const failure = await publish(cacheDir, target, make).catch((error) => error);
      if (!failure) return target;
      reasons.push(`${name}: ${failure.message}`);
    }
    throw new Error(`no Temporal server could be found.\n${reasons.map((line) => `  ${line}`).join("\n")}\n${ADVICE}`);
  });
}

const ADVICE =
  "Do one of these: install it (https://docs.temporal.io/cli#install), so that `temporal` is on the PATH; " +
  "set TEMPORAL_ADDRESS to a running server; or install Go 1.21 or newer and run this again.";

/** Makes the binary aside, sees that it starts, and only then gives it its name. */
async function publish(cacheDir, target, make) {
  const folder = await mkdtemp(path.join(cacheDir, "tmp-"));
  try {
    const file = path.join(folder, "temporal");
    await make(file);
    await chmod(file, 0o755);
    await serverVersion(file);
    await rename(file, target);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function onPath(searchPath) {
  for (const folder of searchPath.split(path.delimiter).filter(Boolean)) {
    const file = path.resolve(folder, "temporal");
    if (!(await isExecutable(file))) continue;
    const version = await serverVersion(file);
    if (!isOlder(version, SERVER_MIN)) return file;
    throw new Error(`${file} has server ${version.join(".")}; ${SERVER_MIN.join(".")} or newer is needed`);
  }
  throw new Error("there is no `temporal`");
}

async function isExecutable(file) {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/** The cached binary when it starts. One that does not, such as half a file of a full disk, is removed. */
async function usable(target, log) {
  if (!(await isExecutable(target))) return undefined;
  try {
    await serverVersion(target);
    return target;
  } catch (error) {
    log(`${target} does not run (${error.message}), getting it again`);
    await rm(target, { force: true });
    return undefined;
  }
}

async function serverVersion(binary) {
  const env = { ...process.env, NO_COLOR: "1" };
  const { stdout } = await promisify(execFile)(binary, ["--version"], { timeout: PROBE_TIMEOUT_MS, env });
  const [, ...numbers] = /^temporal version \S+ \(Server (\d+)\.(\d+)\.(\d+)/m.exec(stdout) ?? [];
  if (numbers.length === 0)
    throw new Error(`${binary} is not Temporal's: it says ${JSON.stringify(stdout.slice(0, 80))}`);
  return numbers.map(Number);
}

/** Folders of processes that were killed at work. */
async function removeLeftOvers(cacheDir) {
  for (const name of await readdir(cacheDir)) {
    const folder = path.join(cacheDir, name);
    const age =
      Date.now() -
      (await stat(folder).then(
        ({ mtimeMs }) => mtimeMs,
        () => Date.now(),
      ));
    if (name.startsWith("tmp-") && age > LEFT_OVER_MS) await rm(folder, { recursive: true, force: true });
  }
}
