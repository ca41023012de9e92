/** A real Docker engine for tests: the one that answers, else one of our own where that can be, else the reason why not. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { connectDocker, detectDocker } from "../../sandbox/docker-engine.ts";
import { busyboxImageTar, hostImageTar } from "./docker-image.ts";

export type TestEngine =
  | { readonly engine: string; readonly words: string; close(): Promise<void> }
  | { readonly engine: undefined; readonly reason: string };

const START_MS = 30_000;
const STOP_MS = 15_000;
export const HOST_IMAGE = "perdure-test/host:1";
export const BUSYBOX_IMAGE = "perdure-test/busybox:1";

/** What this machine has: looked at without starting anything. */
export async function whichEngine(): Promise<"answers" | "startable" | { readonly reason: string }> {
  if ((await detectDocker()).works) return "answers";
  if (process.platform !== "linux") return { reason: "no Docker engine answers, and one is started on Linux only" };
  if (process.getuid?.() !== 0) return { reason: "no Docker engine answers, and only root can start one" };
  const missing = ["dockerd", "containerd", "runc"].find((program) => !isInstalled(program));
  return missing === undefined ? "startable" : { reason: `no Docker engine answers, and ${missing} is not installed` };
}

/** An engine with the tests' images in it. The caller closes it, which ends what it started. */
export async function startTestEngine(): Promise<TestEngine> {
  const which = await whichEngine();
  if (typeof which === "object") return { engine: undefined, reason: which.reason };
  const started = which === "answers" ? undefined : await startDaemon();
  const engine = started?.engine ?? process.env["DOCKER_HOST"] ?? "unix:///var/run/docker.sock";
  try {
    await importImage(engine, HOST_IMAGE, await hostImageTar());
    const busybox = await busyboxImageTar();
    if (busybox !== undefined) await importImage(engine, BUSYBOX_IMAGE, busybox);
  } catch (thrown) {
    await started?.close();
    throw thrown;
  }
  const words = started === undefined ? `the engine at ${engine}` : "an engine of its own";
  return { engine, words, close: async () => started?.close() };
}

/** Whether an engine has that image. */
export async function hasImage(engine: string, image: string): Promise<boolean> {
  const { docker } = await connectDocker(engine);
  return docker
    .getImage(image)
    .inspect()
    .then(
      () => true,
      () => false,
    );
}

async function importImage(engine: string, name: string, tar: string): Promise<void> {
  if (await hasImage(engine, name)) return;
  const { docker } = await connectDocker(engine);
  const [repo = "", tag = ""] = name.split(":");
  const progress = await docker.importImage(createReadStream(tar), { repo, tag });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(progress, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

async function startDaemon(): Promise<{ readonly engine: string; close(): Promise<void> }> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-dockerd-"));
  const engine = `unix://${folder}/engine.sock`;
  const daemon = spawn(
    "dockerd",
    [
      ...["--data-root", `${folder}/data`, "--exec-root", `${folder}/exec`, "--pidfile", `${folder}/pid`],
      ...["-H", engine, "--iptables=false", "--bridge=none", "--log-level", "error"],
    ],
    { stdio: "ignore", detached: true },
  );
  const close = (): Promise<void> => stopDaemon(daemon, folder);
  const deadline = Date.now() + START_MS;
  while (!(await detectDocker(engine)).works) {
    if (daemon.exitCode !== null || Date.now() > deadline) {
      await close();
      throw new Error("dockerd is installed but did not start");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { engine, close };
}

async function stopDaemon(daemon: ChildProcess, folder: string): Promise<void> {
  const ended = new Promise((resolve) => daemon.once("exit", resolve));
  if (daemon.exitCode === null && daemon.kill("SIGTERM")) {
    const timer = setTimeout(() => daemon.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
  }
  // What it left mounted would be removed through.
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n").reverse()) {
    const place = line.split(" ")[1] ?? "";
    if (place.startsWith(`${folder}/`)) execFileSync("umount", ["-l", place]);
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

function isInstalled(program: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  return [...folders, "/usr/sbin", "/sbin"].some((folder) => existsSync(path.join(folder, program)));
}
