/**
 * The provider `bubblewrap`: each command in namespaces of its own, with nothing of the host but a read-only system.
 *
 * `<root>/<sandbox id>/` holds `workspace`, `calls` (what the supervisor writes), `staging` (files while they are written),
 * `spec.json` (of the first open, which stands), `profile` (bwrap's arguments), `etc` (made up), `watch` (who watches it), `used`
 * (what the workspace held at the last look), `notice` (what the next command is told) and `egress`. Nobody else on the host may look in: a command can make files setuid.
 */
import { randomUUID } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxCapabilities, SandboxSpec } from "../contract/sandbox.ts";
import { relayScript, VARIABLES_SCRIPT } from "./bubblewrap-inner.ts";
import {
  type Entrance,
  entranceArguments,
  INSIDE,
  profileArguments,
  terminalArguments,
  writeProfile,
} from "./bubblewrap-profile.ts";
import { type CgroupPlaces, findCgroupPlaces, type SandboxCgroup, sandboxCgroup } from "./cgroup.ts";
import { readDecisions } from "./egress/decisions.ts";
import { startEgress, stopEgress } from "./egress/egress.ts";
import { proxyVariables, relayBinds, relayPrelude } from "./egress/relay.ts";
import { commandEnvironment, ownVariables, secretVariables } from "./environment.ts";
import { resolveShown } from "./host-paths.ts";
import { killByMount, killCommands } from "./host-processes.ts";
import { tidyTemporary } from "./host-removal.ts";
import { listFolders, realFolder, removeSandboxFolder } from "./host-root.ts";
import { argumentOf, checkedSandboxId, checkFolder, createHostSandbox } from "./host-sandbox.ts";
import { openHostTerminal } from "./host-terminal.ts";
import { Launcher } from "./launcher.ts";
import type { CommandStart, Sandbox, SandboxProvider } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import { CONFINED_START_SCRIPT, ONCE_AND_NAP, STAND_BY } from "./supervisor.ts";
import { trimCalls } from "./trimmed-calls.ts";
import { stopWatch, watchOf } from "./watch.ts";

export interface BubblewrapProviderOptions {
  /** The folder of all sandboxes of this host; made when it is missing. */
  readonly root: string;
  /** What `detectBubblewrap` found. Default: the programs of the PATH. */
  readonly entrance?: Entrance;
  /** Whose language and time zone commands get. Default: this process. */
  readonly hostEnvironment?: Readonly<Record<string, string | undefined>>;
  /** Folders of the host that commands see, read-only, under their own names: a toolchain outside of /usr, say. */
  readonly readOnly?: readonly string[];
  /** Where limits are set. Default: as this host allows. */
  readonly cgroups?: CgroupPlaces;
  /** Of the host's disk; when less is free, sandboxes that fill it are ended. Default: LIMITS.hostFreeMiB. */
  readonly hostFreeMiB?: number;
}

export function createBubblewrapProvider(options: BubblewrapProviderOptions): SandboxProvider {
  const host: Host = {
    launcher: new Launcher(),
    entrance: options.entrance ?? { bwrap: "bwrap", resetsSignals: true },
    environment: innerEnvironment(options.hostEnvironment ?? process.env),
    readOnly: (options.readOnly ?? []).map(checkedShown),
    hostFreeMiB: options.hostFreeMiB ?? LIMITS.hostFreeMiB,
  };
  const cgroups = options.cgroups ?? findCgroupPlaces();
  const folderOf = (id: SandboxId): string => path.join(path.resolve(options.root), checkedSandboxId(id));
  const existing = (id: SandboxId): Sandbox => {
    const folder = realpathSync(folderOf(id));
    return createSandbox(id, { folder, kept: readKept(folder) }, host);
  };
  return {
    name: "bubblewrap",
    capabilities: capabilities(cgroups),
    async open(id, spec = {}) {
      host.launcher.warm();
      const folder = folderOf(id);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      // The workspace first, as `find` looks for it: a sandbox that is killed while it is made is then not half there.
      for (const name of ["workspace", "calls", "staging"]) mkdirSync(path.join(folder, name), { recursive: true });
      keepFirst(folder, { spec, cgroups });
      return existing(id);
    },
    async find(id) {
      return existsSync(path.join(folderOf(id), "workspace")) ? existing(id) : undefined;
    },
    async remove(id) {
      const folder = folderOf(id);
      let cgroup = sandboxCgroup(cgroups, realFolder(folder));
      await removeSandboxFolder(folder, async (doomed, former) => {
        cgroup = sandboxCgroup(readKept(doomed).cgroups, former);
        killCommands(path.join(doomed, "calls"), [doomed, former]);
        await cgroup.kill();
        await killByMount(
          [doomed, former].map((one) => path.join(one, "workspace")),
          INSIDE.workspace,
        );
        await stopEgress(doomed);
        await stopWatch(doomed);
      });
      // Also of a sandbox whose folder somebody else took away.
      await cgroup.kill();
      await cgroup.remove();
    },
    async tidy(isCommitted) {
      for (const { id } of listFolders(options.root)) {
        const folder = folderOf(id);
        if (!existsSync(folder)) continue;
        const { frozen } = sandboxCgroup(readKept(folder).cgroups, realFolder(folder));
        await tidyTemporary(path.join(folder, "staging"), frozen);
        await trimCalls(path.join(folder, "calls"), isCommitted);
      }
    },
    list: async () => listFolders(options.root),
  };
}

function capabilities({ folders }: CgroupPlaces): SandboxCapabilities {
  return {
    isolation: "namespaces",
    memory: folders.memory === undefined ? "prlimit" : "cgroup",
    cpu: folders.cpu === undefined ? "none" : "cgroup",
    // The kernel counts no processes against root.
    processes: folders.pids === undefined ? (process.getuid?.() === 0 ? "none" : "prlimit") : "cgroup",
    disk: "watched",
    network: "allow-list",
    images: false,
    terminal: true,
    tunnels: false,
    snapshots: "workspace",
    hostBound: true,
  };
}

interface Host {
  readonly launcher: Launcher;
  readonly entrance: Entrance;
  readonly environment: Readonly<Record<string, string>>;
  readonly readOnly: readonly string[];
  readonly hostFreeMiB: number;
}

/** What the first open of a sandbox decided. */
interface Kept {
  readonly spec: SandboxSpec;
  readonly cgroups: CgroupPlaces;
}

function createSandbox(
  id: SandboxId,
  { folder, kept }: { readonly folder: string; readonly kept: Kept },
  host: Host,
): Sandbox {
  const { launcher, entrance } = host;
  const workspace = path.join(folder, "workspace");
  const profile = path.join(folder, "profile");
  const allow = kept.spec.network?.allow ?? [];
  const hasNetwork = allow.length > 0;
  const environment = { ...host.environment, ...(hasNetwork && proxyVariables()) };
  const cgroup = sandboxCgroup(kept.cgroups, folder);
  const prelude = hasNetwork ? relayScript(relayPrelude()) : VARIABLES_SCRIPT;
  const parts = { folder, readOnly: host.readOnly, binds: hasNetwork ? relayBinds(folder) : [] };
  let isProfileWritten = false;
  const diskMiB = kept.spec.diskMiB ?? LIMITS.sandboxDiskMiB;
  const diskKib = String(diskMiB * 1024);
  const watched = {
    ...{ folder, inside: INSIDE.workspace, diskMiB, freeMiB: host.hostFreeMiB, ...cgroup.files },
    memoryMiB: kept.cgroups.folders.memory ? undefined : (kept.spec.memoryMiB ?? LIMITS.sandboxMemoryMiB),
  };
  const watch = watchOf(watched, (script) => launcher.run(script));
  const prepare = async (): Promise<readonly string[]> => {
    if (hasNetwork) await startEgress({ folder, allow, run: (script) => launcher.run(script) });
    if (!isProfileWritten) {
      writeProfile(profile, profileArguments(parts));
      isProfileWritten = true;
    }
    const joins = holdLimits(cgroup, kept);
    await watch.ensure();
    return joins;
  };
  return createHostSandbox({
    id,
    folder,
    temporary: path.join(folder, "staging"),
    inside: INSIDE,
    frozen: cgroup.frozen,
    launcher,
    environment,
    async startScript(command, call) {
      const cwd = workingFolder(workspace, command);
      // By no argument: unlike those, variables of a process are not for everybody to read.
      const variables = secretVariables({ ...command.environment, ...command.secrets });
      const joins = await prepare();
      const text = argumentOf(command, call);
      const ran = text === "" ? [SHELL, `${INSIDE.calls}/${command.callId}/command`] : [SHELL, "-c", text];
      const isPlain = !hasNetwork && Object.keys(variables).length === 0;
      const inner = isPlain ? ran : ["/bin/sh", "-c", prelude, "perdure", ...ran];
      const supervised = [call, workspace, String(command.timeoutMs), profile, joins.join("\n"), diskKib];
      const args = [...supervised, ...processLimits(kept), ...entranceArguments(entrance, { parts, cwd, inner })];
      return { script: CONFINED_START_SCRIPT, args, env: { ...environment, ...variables } };
    },
    started: () => watch.ensure(),
    networkDecisions: async (from) => readDecisions(folder, from),
    async openTerminal(options) {
      const joins = await prepare();
      const shell = ["/usr/bin/env", "TERM=xterm-256color", ...ownVariables(options.environment), SHELL];
      const inner = hasNetwork ? ["/bin/sh", "-c", prelude, "perdure", ...shell] : shell;
      const entered = [...processLimits(kept), ...terminalArguments(entrance, inner)];
      const argv = [
        "/bin/sh",
        "-c",
        TERMINAL_SCRIPT,
        "perdure",
        profile,
        joins.join("\n"),
        diskKib,
        ...entered,
      ] as const;
      return openHostTerminal({ argv, cwd: "/", environment }, options);
    },
  });
}

const SHELL = existsSync("/bin/bash") ? "/bin/bash" : "/bin/sh";

const TERMINAL_SCRIPT = `${ONCE_AND_NAP}${STAND_BY}
profile=$1 joins=$2 disk=$3
shift 3
stand_by "\${profile%/*}"
IFS='
'
for file in $joins; do echo 0 >"$file" || exit 126; done
unset IFS
ulimit -f $((disk * 2))
exec 5<"$profile" 6<"\${profile%/*}/filter"
exec "$@"
`;

function holdLimits(cgroup: SandboxCgroup, { spec }: Kept): readonly string[] {
  try {
    return cgroup.hold({
      memoryMiB: spec.memoryMiB ?? LIMITS.sandboxMemoryMiB,
      processesMax: spec.processesMax ?? LIMITS.sandboxProcesses,
      cpu: spec.cpu,
    });
  } catch (cause) {
    throw new SandboxError("failed", "the sandbox's limits could not be set: its cgroup cannot be made", { cause });
  }
}

/** What is not held by a cgroup, as far as each process can be held by itself. */
function processLimits({ spec, cgroups: { folders } }: Kept): readonly string[] {
  const limits = [
    ...(folders.memory ? [] : [`--data=${(spec.memoryMiB ?? LIMITS.sandboxMemoryMiB) * 1024 * 1024}`]),
    ...(folders.pids ? [] : [`--nproc=${spec.processesMax ?? LIMITS.sandboxProcesses}`]),
  ];
  return limits.length === 0 ? [] : ["prlimit", ...limits, "--"];
}

/** Nothing of the host's search path: its folders mean nothing inside. */
function innerEnvironment(host: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const own = { ...host, PATH: undefined, USER: "sandbox", LOGNAME: "sandbox" };
  return commandEnvironment(own, { home: INSIDE.workspace, temporary: "/tmp" });
}

function workingFolder(workspace: string, { cwd }: CommandStart): string {
  if (cwd === undefined || cwd === "") return INSIDE.workspace;
  const real = checkFolder(workspace, resolveShown({ host: workspace, inside: INSIDE.workspace }, cwd), cwd);
  return path.posix.join(INSIDE.workspace, path.relative(workspace, real));
}

function checkedShown(folder: string): string {
  if (path.isAbsolute(folder) && path.normalize(folder) !== "/") return path.normalize(folder);
  throw new Error(`expected absolute folders to be shown in sandboxes, found ${JSON.stringify(folder)}`);
}

/** Whole or not at all, and the first one stands, whoever opens at the same time. */
function keepFirst(folder: string, kept: Kept): void {
  const file = path.join(folder, "spec.json");
  if (existsSync(file)) return;
  const written = `${file}.${randomUUID()}`;
  writeFileSync(written, JSON.stringify(kept));
  try {
    linkSync(written, file);
  } catch (thrown) {
    if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
  } finally {
    rmSync(written, { force: true });
  }
}

/** A maker that died before it had written this has left nothing that could run. */
function readKept(folder: string): Kept {
  try {
    return JSON.parse(readFileSync(path.join(folder, "spec.json"), "utf8"));
  } catch {
    return { spec: {}, cgroups: { version: 1, folders: {} } };
  }
}
