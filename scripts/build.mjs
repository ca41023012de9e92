/** `npm run build`: compiles the sources to dist/ and bundles the workflows there, so that a release runs without a compiler. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const dist = path.join(root, "dist");

rmSync(dist, { recursive: true, force: true });
const compiled = spawnSync("tsc", ["-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
if (compiled.status === 0) await bundle(path.join(dist, "workers/workflow-bundle.js"));
else process.exitCode = compiled.status ?? 1;

async function bundle(outFile) {
  const module = path.join(dist, "workers/bundle.js");
  if (!existsSync(module))
    throw new Error(`${module} is missing: workers/bundle.ts must export buildWorkflowBundle(outFile)`);
  const { buildWorkflowBundle } = await import(pathToFileURL(module).href);
  mkdirSync(path.dirname(outFile), { recursive: true });
  await buildWorkflowBundle(outFile);
}
