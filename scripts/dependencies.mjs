/** Installs the packages when they are missing or differ from the lock file, and sees that a Node new enough is there to run us. */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { withLock } from "./lock.mjs";
import { isOlder } from "./version-order.mjs";

const NODE_MIN = [22, 18, 0];
const OUTPUT_TAIL = 3_000;
const MODULES = "node_modules/";

/**
 * @param {{ root: string, onProgress: (text: string) => void }} options
 * @returns {Promise<void>}
 */
export async function ensureDependencies({ root, onProgress }) {
  const lockText = await readFile(path.join(root, "package-lock.json"), "utf8");
  const isDone = async () => ((await isInstalled(root, lockText)) ? true : undefined);
  if (!(await isDone())) {
    await mkdir(path.join(root, ".cache"), { recursive: true });
    const onWait = (pid) => onProgress(`waiting for process ${pid}, which is installing the packages`);
    await withLock({ file: path.join(root, ".cache/install.lock"), isDone, onWait }, async () => {
      onProgress("installing the packages (npm ci)");
      // Development packages whatever NODE_ENV says: Node 24 and the test runner are among them.
      // No package's own script is run, whatever the machine's npm is told: none of them is needed, as a test sees to.
      await npm(root, ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"]);
      for (const line of await unchecked(root, lockText)) onProgress(line);
      await writeFile(stampFile(root), digest(lockText));
      return true;
    });
  }
  await ensureNode(root);
}

/** By our stamp; without one, as after a plain `npm install`, by what npm itself wrote down last. */
async function isInstalled(root, lockText) {
  const stamp = await readFile(stampFile(root), "utf8").catch(() => "");
  if (stamp === digest(lockText)) return true;
  const written = await installedPackages(root);
  if (written === undefined || !agrees(JSON.parse(lockText), written)) return false;
  await writeFile(stampFile(root), digest(lockText));
  return true;
}

/** What npm itself wrote down of its last installation. */
async function installedPackages(root) {
  const text = await readFile(path.join(root, "node_modules/.package-lock.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : JSON.parse(text);
}

/** Says which packages were installed though the lock has no hash of them: those of platforms that nobody could ask for. */
async function unchecked(root, lockText) {
  const installed = (await installedPackages(root))?.packages ?? {};
  return Object.entries(JSON.parse(lockText).packages)
    .filter(([name, one]) => name.startsWith(MODULES) && !one.link && !one.integrity && installed[name])
    .map(
      ([name, { version }]) =>
        `${name.slice(MODULES.length)} ${version} has no hash in package-lock.json: it was not checked`,
    );
}

/** Whether everything that is locked is installed in that version. Optional packages may be missing on this platform. */
function agrees(lock, installed) {
  return Object.entries(lock.packages).every(([name, { version, optional }]) => {
    const found = installed.packages[name];
    return !name.startsWith(MODULES) || (found ? found.version === version : optional === true);
  });
}

/**
 * scripts/node-24 brings Node 24 on Linux, checked by the lock file's hashes. On other platforms npm runs us on the machine's
 * Node: fine when that is new enough.
 */
async function ensureNode(root) {
  if (await versionOf(path.join(root, "node_modules/.bin/node"))) return;
  const own = await versionOf("node", withoutModules(process.env.PATH));
  if (own && !isOlder(own, NODE_MIN)) return;
  throw new Error(
    `Node ${NODE_MIN.join(".")} or newer is needed: the machine has ${own?.join(".") ?? "none"}, and for ` +
      `${process.platform}/${process.arch} this repository brings none. Install Node 24 (https://nodejs.org) and run this again.`,
  );
}

async function versionOf(node, searchPath = process.env.PATH) {
  const env = { ...process.env, PATH: searchPath };
  const { stdout } = await promisify(execFile)(node, ["--version"], { env }).catch(() => ({ stdout: "" }));
  const [, ...numbers] = /^v(\d+)\.(\d+)\.(\d+)/.exec(stdout) ?? [];
  return numbers.length === 0 ? undefined : numbers.map(Number);
}

/** Runs the machine's npm on the machine's Node: the one in node_modules is about to be removed. */
function npm(root, args) {
  const env = { ...process.env, PATH: withoutModules(process.env.PATH) };
  return new Promise((resolve, reject) => {
    const child = spawn("npm", args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let tail = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (bytes) => {
        tail = (tail + bytes).slice(-OUTPUT_TAIL);
      });
    }
    child.on("error", (error) =>
      reject(new Error(`npm cannot be run: ${error.message}. Install Node 20 or newer with npm.`)),
    );
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`npm ${args[0]} failed (${signal ?? `code ${code}`}):\n${tail.trim()}`));
    });
  });
}

function withoutModules(searchPath = "") {
  const ours = path.join("node_modules", ".bin");
  return searchPath
    .split(path.delimiter)
    .filter((folder) => !folder.endsWith(ours))
    .join(path.delimiter);
}

function stampFile(root) {
  return path.join(root, "node_modules/.perdure-lock");
}

function digest(text) {
  return createHash("sha256").update(text).digest("hex");
}
