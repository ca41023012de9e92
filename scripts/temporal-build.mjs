/** Builds the `temporal` binary from the Go module proxy, for machines that cannot reach the official download. */
import { execFile, spawn } from "node:child_process";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { isOlder } from "./version-order.mjs";

/**
 * Two lines of the development server's source: without them it has no HTTP API, which asks nobody who they are, and no port
 * of metrics. The command line of the official build cannot say so.
 */
const LEFT_OUT = [
  ["conf.RPC.HTTPPort = s.FrontendHTTPPort", ""],
  ["conf.Global.Metrics == nil && s.MetricsPort > 0", "false"],
];
/** Counted up with each change of what is built from the same version, so that a build of before is not taken for it. */
export const BUILD = 2;

const MODULE = "github.com/temporalio/cli";
const DEV_SERVER = "internal/devserver/server.go";

/** What go.mod needs for a version of the CLI. Its part `cliext` has no tag of its own, so it is pinned here. */
const RECIPES = { "1.8.2": { go: [1, 26, 4], cliext: "v0.0.0-20260731000218-c579925f193f" } };
/** From here on Go fetches a newer Go by itself. */
const GO_MIN = [1, 21, 0];
const BUILD_TIMEOUT_MS = 25 * 60_000;

/**
 * @param {{ version: string, target: string, folder: string, onProgress: (text: string) => void }} options
 * @returns {Promise<void>}
 */
export async function buildTemporal({ version, target, folder, onProgress }) {
  const recipe = RECIPES[version];
  if (!recipe) throw new Error(`there is no recipe to build version ${version}`);
  const go = await goVersion();
  if (isOlder(go, GO_MIN)) throw new Error(`Go ${go.join(".")} is too old: ${GO_MIN.join(".")} or newer is needed`);
  const requirements = [
    "module local/temporal-cli",
    `go ${recipe.go.join(".")}`,
    `require ${MODULE} v${version}`,
    `replace ${MODULE}/cliext => ${MODULE}/cliext ${recipe.cliext}`,
  ];
  await writeFile(path.join(folder, "go.mod"), requirements.join("\n\n"));
  onProgress(`building Temporal ${version} with Go ${go.join(".")} (about 5 minutes, once)`);
  const env = { ...process.env, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "" };
  if (isOlder(go, recipe.go)) env.GOTOOLCHAIN = "auto";
  await run("go", ["mod", "download", MODULE], { cwd: folder, env });
  await closedModule(folder, env);
  await writeFile(path.join(folder, "go.mod"), [...requirements, `replace ${MODULE} => ./cli`].join("\n\n"));
  const link = `-s -w -X github.com/temporalio/cli/internal/temporalcli.Version=${version}`;
  const flags = ["-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", link, "-o", target];
  await run("go", ["build", ...flags, "github.com/temporalio/cli/cmd/temporal"], { cwd: folder, env });
}

/** Copies the module, whose own files Go lets nobody change, takes those lines out, and answers with the folder. */
async function closedModule(folder, env) {
  const asked = ["list", "-mod=mod", "-m", "-f", "{{.Dir}}", MODULE];
  const { stdout } = await promisify(execFile)("go", asked, { cwd: folder, env, timeout: BUILD_TIMEOUT_MS });
  const copy = path.join(folder, "cli");
  await cp(stdout.trim(), copy, { recursive: true });
  const file = path.join(copy, DEV_SERVER);
  let source = await readFile(file, "utf8");
  for (const [text, without] of LEFT_OUT) {
    if (source.split(text).length !== 2) throw new Error(`${DEV_SERVER} is not the file that is known: no ${text}`);
    source = source.replace(text, without);
  }
  await rm(file); // It came read-only, as the module's files are.
  await writeFile(file, source);
}

async function goVersion() {
  const { stdout } = await promisify(execFile)("go", ["env", "GOVERSION"]).catch((error) => {
    throw new Error("there is no Go on the PATH", { cause: error });
  });
  const [, ...numbers] = /go(\d+)\.(\d+)(?:\.(\d+))?/.exec(stdout) ?? [];
  return numbers.map((text) => Number(text ?? 0));
}

function run(file, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...options, stdio: ["ignore", "ignore", "pipe"], timeout: BUILD_TIMEOUT_MS });
    let tail = "";
    child.stderr.on("data", (bytes) => {
      tail = (tail + bytes).slice(-2_000);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve();
      const lines = tail.split("\n").filter((line) => line !== "" && !line.startsWith("go: downloading"));
      reject(new Error(`go build failed (${signal ?? code}): ${lines.slice(-5).join(" | ")}`));
    });
  });
}
