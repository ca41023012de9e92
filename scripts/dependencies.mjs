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
      await npm(root, ["ci", "--include=dev", "--no-audit", "--no-fund"]);
      await writeFile(stampFile(root), digest(lockText));
      return true;
    });
  }
  await ensureNode({ root, onProgress });
}

/** By our stamp; without one, as after a plain `npm install`, by what npm itself wrote down last. */
async function isInstalled(root, lockText) {
  const stamp = await readFile(stampFile(root), "utf8").catch(() => "");
  if (stamp === digest(lockText)) return true;
  const written = await readFile(path.join(root, "node_modules/.package-lock.json"), "utf8").catch(() => undefined);
  if (written === undefined || !agrees(JSON.parse(lockText), JSON.parse(written))) return false;
  await writeFile(stampFile(root), digest(lockText));
  return true;
}

/** Whether everything that is locked is installed in that version. Optional packages may be missing on this platform. */
function agrees(lock, installed) {
  return Object.entries(lock.packages).every(([name, { version, optional }]) => {
    const found = installed.packages[name];
    return name === "" || (found ? found.version === version : optional === true);
  });
}

/**
 * The package `node` brings Node 24, by a script of its own. Where scripts are switched off it is an empty shell, and
 * npm runs us on the machine's Node: fine when that is new enough, else the one script is run after all.
 */
async function ensureNode({ root, onProgress }) {
  if (await versionOf(path.join(root, "node_modules/.bin/node"))) return;
  const own = await versionOf("node", withoutModules(process.env.PATH));
  if (own && !isOlder(own, NODE_MIN)) return;
  onProgress("getting Node 24 (npm scripts are switched off, so npm ci did not)");
  await npm(root, ["rebuild", "node", "--ignore-scripts=false"]).catch(() => undefined);
  if (await versionOf(path.join(root, "node_modules/.bin/node"))) return;
  throw new Error(
    `Node ${NODE_MIN.join(".")} or newer is needed, and neither the machine (${own?.join(".") ?? "none"}) nor the package ` +
      "`node` has one. Install Node 24 (https://nodejs.org), or allow npm's install scripts, and run this again.",
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
