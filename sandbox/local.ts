/**
 * The provider `local`: plain processes and a folder on this host. It isolates nothing: a command may do what the user
 * who runs the worker may do. `<root>/<sandbox id>/` holds `workspace`, `calls` (what the supervisor writes) and `tmp`.
 */
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { CallId, SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxCapabilities } from "../contract/sandbox.ts";
import { isGroupAlive, livingGroups, processes, readClaim } from "./call-folder.ts";
import type { DetachedScript } from "./detached.ts";
import { commandEnvironment, ownVariables, secretVariables } from "./environment.ts";
import { createSandboxFiles } from "./files.ts";
import { removeTree } from "./host-removal.ts";
import { Launcher } from "./launcher.ts";
import { resolveInside } from "./paths.ts";
import type { CommandStart, Sandbox, SandboxProvider } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import { followCall } from "./spool.ts";
import { KILL_SCRIPT, START_SCRIPT } from "./supervisor.ts";

export interface LocalProviderOptions {
  /** The folder of all sandboxes of this host; made when it is missing. */
  readonly root: string;
  /** Whose PATH, USER and language commands get. Default: this process. */
  readonly hostEnvironment?: Readonly<Record<string, string | undefined>>;
}

/** A longer argument than this is refused by the kernel (128 KiB), so the command then goes by file. */
const ARGUMENT_BYTES_MAX = 100 * 1024;

export function createLocalProvider(options: LocalProviderOptions): SandboxProvider {
  const host = { environment: options.hostEnvironment ?? process.env, launcher: new Launcher() };
  const folderOf = (id: SandboxId): string => path.join(path.resolve(options.root), checkedSandboxId(id));
  return {
    name: "local",
    capabilities: CAPABILITIES,
    async open(id) {
      host.launcher.warm();
      for (const name of ["workspace", "calls", "tmp"]) {
        mkdirSync(path.join(folderOf(id), name), { recursive: true, mode: 0o755 });
      }
      return createSandbox(id, realpathSync(folderOf(id)), host);
    },
    async find(id) {
      if (!existsSync(path.join(folderOf(id), "workspace"))) return undefined;
      return createSandbox(id, realpathSync(folderOf(id)), host);
    },
    async remove(id) {
      const folder = folderOf(id);
      if (!existsSync(folder)) return;
      const real = realpathSync(folder);
      // Gone for everybody at once: a start that is on its way finds no folder to claim its call in.
      const doomed = path.join(path.dirname(real), `.removed-${randomUUID()}`);
      await rename(real, doomed).catch(ignoreMissing);
      killEverything(doomed, real);
      await removeTree(doomed);
    },
    async list() {
      const names = existsSync(options.root) ? readdirSync(options.root) : [];
      return names.flatMap((name) => {
        const id = SandboxId.safeParse(name);
        const made = statSync(path.join(options.root, name), { throwIfNoEntry: false });
        return id.success && made?.isDirectory() ? [{ id: id.data, madeAt: made.birthtimeMs }] : [];
      });
    },
  };
}

const CAPABILITIES: SandboxCapabilities = {
  isolation: "none",
  memory: "none",
  cpu: "none",
  processes: "none",
  disk: "none",
  network: "open",
  images: false,
  terminal: false,
  tunnels: false,
  snapshots: "workspace",
  hostBound: true,
};

interface Host {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly launcher: Launcher;
}

function createSandbox(id: SandboxId, folder: string, host: Host): Sandbox {
  const { launcher } = host;
  const workspace = path.join(folder, "workspace");
  const calls = path.join(folder, "calls");
  const temporary = path.join(folder, "tmp");
  const environment = commandEnvironment(host.environment, { home: workspace, temporary });
  const callFolder = (callId: CallId): string => path.join(calls, checkedCallId(callId));
  const checkThere = (): void => {
    if (!existsSync(workspace)) throw new SandboxError("lost", `the sandbox ${id} is gone: its folder is missing`);
  };
  return {
    id,
    workspace,
    ...createSandboxFiles({ workspace, calls, temporary }),
    async start(command) {
      const call = callFolder(command.callId);
      if (readClaim(call) !== undefined) return;
      checkThere();
      const cwd = workingFolder(workspace, command.cwd);
      // A secret stands over a variable of the same name, which `env` would otherwise set last.
      const { environment: own = {}, secrets = {} } = command;
      const variables = ownVariables(Object.fromEntries(Object.entries(own).filter(([name]) => !(name in secrets))));
      makeCallFolder(call);
      putInput(command, call);
      const args = [call, cwd, String(command.timeoutMs), argumentOf(command, call), ...variables];
      await runScript(launcher, { script: START_SCRIPT, args, env: { ...environment, ...secretVariables(secrets) } });
      if (readClaim(call) !== undefined) return;
      checkThere();
      throw new SandboxError("failed", "the command could not be started: nobody claimed its call folder");
    },
    async *follow(callId, from, signal) {
      const call = callFolder(callId);
      if (!existsSync(call)) {
        checkThere();
        throw new SandboxError("not_found", `no command was started under ${callId}`);
      }
      yield* followCall(call, from, signal);
    },
    async kill(callId) {
      if (!existsSync(workspace)) return;
      const call = callFolder(callId);
      makeCallFolder(call);
      await runScript(launcher, { script: KILL_SCRIPT, args: [call], env: environment });
    },
    spoolPath: (callId, stream) => path.join(callFolder(callId), stream),
    networkDecisions: async () => ({ decisions: [], next: 0 }),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function runScript(launcher: Launcher, request: DetachedScript): Promise<void> {
  try {
    await launcher.run(request);
  } catch (cause) {
    throw new SandboxError("failed", "the command could not be started: no process could be made", { cause });
  }
}

/** Not recursive: the folders above must not come back after the sandbox was removed. */
function makeCallFolder(call: string): void {
  try {
    mkdirSync(call);
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    if (code === "EEXIST") return;
    throw new SandboxError(code === "ENOENT" ? "lost" : "failed", `no folder could be made for the command (${code})`, {
      cause: thrown,
    });
  }
}

/** The command as an argument, or an empty one after it was put into the file that the supervisor then runs. */
function argumentOf({ command }: CommandStart, call: string): string {
  if (command.includes("\0")) throw new SandboxError("failed", "the command holds a NUL byte, which no shell takes");
  if (command !== "" && Buffer.byteLength(command) <= ARGUMENT_BYTES_MAX) return command;
  putInto(call, "command", command);
  return "";
}

/** Before the start, so that whichever starter wins the claim finds it. */
function putInput({ input }: CommandStart, call: string): void {
  if (input === undefined) return;
  if (input.byteLength > LIMITS.commandInputBytesMax) {
    const most = LIMITS.commandInputBytesMax;
    throw new SandboxError("too_large", `the input has ${input.byteLength} bytes; expected at most ${most}`);
  }
  putInto(call, "input", input);
}

/** By rename: another starter of the same call may have its command reading this file already. */
function putInto(call: string, name: string, content: string | Uint8Array): void {
  const written = path.join(call, `.${name}-${randomUUID()}`);
  writeFileSync(written, content);
  renameSync(written, path.join(call, name));
}

function workingFolder(workspace: string, cwd: string | undefined): string {
  if (cwd === undefined || cwd === "") return workspace;
  const folder = resolveInside(workspace, cwd);
  const stats = statSync(folder, { throwIfNoEntry: false });
  if (stats?.isDirectory()) return folder;
  throw new SandboxError("not_found", `the working folder ${cwd} ${stats ? "is not a folder" : "does not exist"}`);
}

/** Ends all commands of a sandbox, and what has left their groups: its environment still names the sandbox. */
function killEverything(folder: string, formerFolder: string): void {
  const calls = path.join(folder, "calls");
  const groups = livingGroups();
  for (const name of existsSync(calls) ? readdirSync(calls) : []) {
    const claim = readClaim(path.join(calls, name));
    if (claim?.process !== undefined && isGroupAlive(claim, groups)) signalKill(-claim.process.pid);
  }
  const mark = `\0TMPDIR=${path.join(formerFolder, "tmp")}\0`;
  for (const pid of processes()) if (pid !== process.pid && environmentOf(pid).includes(mark)) signalKill(pid);
}

function environmentOf(pid: number): string {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, "latin1")}`;
  } catch {
    return ""; // Another user's, or gone.
  }
}

function signalKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}

/** Ids are path parts here, so they are checked although they have a type. */
function checkedSandboxId(id: SandboxId): string {
  if (SandboxId.safeParse(id).success) return id;
  throw new SandboxError("denied", "expected a sandbox id: sbx_ and letters, digits, _ or -");
}

function checkedCallId(id: CallId): string {
  if (CallId.safeParse(id).success) return id;
  throw new SandboxError("denied", "expected a call id: call_ and letters, digits, _ or -");
}

function ignoreMissing(thrown: unknown): void {
  if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")) throw thrown;
}
