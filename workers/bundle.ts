/** The workflow bundle: made once per content of the workflow code, kept in a cache, or built ahead for a release. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.dirname(HERE);
/** In a release the bundle lies beside this file, and there is nothing to make it from. */
const RELEASED = path.join(HERE, "workflow-bundle.js");
const EXTENSION = path.extname(fileURLToPath(import.meta.url));

/** The path of a bundle of today's workflow code. */
export async function workflowBundle(): Promise<string> {
  if (existsSync(RELEASED)) return RELEASED;
  const file = path.join(ROOT, ".cache", `workflow-bundle-${sourceHash()}.js`);
  if (!existsSync(file)) await buildWorkflowBundle(file);
  return file;
}

/** Bundles the workflow code into a file; published by rename, so that two processes may do it at once. */
export async function buildWorkflowBundle(file: string): Promise<void> {
  // Loaded only here: the bundler is large, and a worker that restarts must be up at once.
  const { bundleWorkflowCode } = await import("@temporalio/worker");
  const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, log() {} };
  const { code } = await bundleWorkflowCode({
    workflowsPath: path.join(ROOT, "workflows", `index${EXTENSION}`),
    logger: quiet,
  });
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, code, { flush: true }); // A name without its bytes, after a power cut, would be used for ever.
  await rename(temporary, file);
}

/** Everything that goes into the bundle: our workflow code, what it imports, and the SDK's version. */
function sourceHash(): string {
  const hash = createHash("sha256");
  for (const folder of ["workflows", "contract"]) {
    for (const name of readdirSync(path.join(ROOT, folder)).sort()) {
      hash.update(name).update(readFileSync(path.join(ROOT, folder, name)));
    }
  }
  const manifest = path.join(ROOT, "node_modules", "@temporalio", "workflow", "package.json");
  hash.update(readFileSync(manifest));
  return hash.digest("hex").slice(0, 16);
}
