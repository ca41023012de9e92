/** An ExecChannel whose programs are plain processes of this host, and a provider of remote sandboxes over it. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { SandboxId } from "../../contract/ids.ts";
import { SandboxError, type SandboxProvider } from "../../sandbox/provider.ts";
import { writeAll } from "../../sandbox/remote/back-pressure.ts";
import type { ExecChannel, RemoteProcess } from "../../sandbox/remote/channel.ts";
import { createRemoteSandbox, prepareRemoteSandbox } from "../../sandbox/remote/remote-sandbox.ts";

/** `variables` are those of every program; `folder` missing means that the sandbox is lost. */
export function processChannel(folder: string, variables: Readonly<Record<string, string>>): ExecChannel {
  return {
    async exec(argv, { stdin = false, signal } = {}) {
      if (!existsSync(folder)) throw new SandboxError("lost", "the sandbox is gone");
      const [program = "", ...args] = argv;
      const child = spawn(program, args, {
        stdio: ["pipe", "pipe", "ignore"],
        env: { PATH: process.env["PATH"], ...variables },
        ...(signal && { signal }),
      });
      child.on("error", () => undefined);
      if (!stdin) child.stdin.end();
      return remoteProcess(child);
    },
  };
}

function remoteProcess(child: ChildProcessByStdio<Writable, Readable, null>): RemoteProcess {
  child.stdin.on("error", () => undefined);
  child.stdout.on("error", () => undefined);
  return {
    stdout: child.stdout,
    stderr: (async function* () {})(),
    exit: once(child, "close").then(([code]) => code ?? 137),
    write: (bytes) => writeAll(child.stdin, bytes),
    async end() {
      child.stdin.end();
    },
    kill() {
      child.stdin.destroy();
      child.stdout.destroy();
    },
  };
}

export function createProcessProvider(root: string, variables: Readonly<Record<string, string>> = {}): SandboxProvider {
  const checked = (id: SandboxId): string => {
    if (!SandboxId.safeParse(id).success) throw new SandboxError("denied", "expected a sandbox id");
    return path.join(realpathSync(root), id);
  };
  const options = (id: SandboxId) => {
    const folder = checked(id);
    const mark = { PERDURE_TEST_SANDBOX: folder };
    const places = { workspace: `${folder}/workspace`, state: `${folder}/state` };
    return { id, channel: processChannel(folder, { ...variables, ...mark }), ...places };
  };
  return {
    name: "docker",
    capabilities: {
      ...{ isolation: "none", memory: "none", cpu: "none", processes: "none", disk: "none", network: "open" },
      ...{ images: false, terminal: false, tunnels: false, snapshots: "workspace", hostBound: true },
    },
    async open(id) {
      mkdirSync(checked(id), { recursive: true });
      await prepareRemoteSandbox(options(id));
      return createRemoteSandbox(options(id));
    },
    async find(id) {
      return existsSync(checked(id)) ? createRemoteSandbox(options(id)) : undefined;
    },
    async remove(id) {
      const folder = checked(id);
      for (let tries = 0; tries < 20 && killAll(folder) > 0; tries++) await new Promise(setImmediate);
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    },
    async list() {
      return readdirSync(root).flatMap((name) =>
        name.startsWith("sbx_") ? [{ id: name as SandboxId, madeAt: undefined }] : [],
      );
    },
  };
}

function killAll(folder: string): number {
  const mark = `PERDURE_TEST_SANDBOX=${folder}\0`;
  let killed = 0;
  for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
    try {
      if (pid === process.pid || !readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark)) continue;
      process.kill(pid, "SIGKILL");
      killed += 1;
    } catch {
      // It ended by itself.
    }
  }
  return killed;
}
