/**
 * The provider `local`: plain processes and a folder on this host. It isolates nothing: a command may do what the user
 * who runs the worker may do. `<root>/<sandbox id>/` holds `workspace`, `calls` (what the supervisor writes) and `tmp`.
 */
import { existsSync, mkdirSync, realpathSync } from "node:fs";
import path from "node:path";
import type { SandboxId } from "../contract/ids.ts";
import type { SandboxCapabilities } from "../contract/sandbox.ts";
import { commandEnvironment, ownVariables, secretVariables } from "./environment.ts";
import { killByVariable, killCommands } from "./host-processes.ts";
import { tidyTemporary } from "./host-removal.ts";
import { listFolders, realFolder, removeSandboxFolder } from "./host-root.ts";
import { argumentOf, checkedSandboxId, checkFolder, createHostSandbox } from "./host-sandbox.ts";
import { openHostTerminal } from "./host-terminal.ts";
import { Launcher } from "./launcher.ts";
import { resolveInside } from "./paths.ts";
import type { CommandStart, Sandbox, SandboxProvider } from "./provider.ts";
import { START_SCRIPT } from "./supervisor.ts";
import { trimCalls } from "./trimmed-calls.ts";

export interface LocalProviderOptions {
  /** The folder of all sandboxes of this host; made when it is missing. */
  readonly root: string;
  /** Whose PATH, USER and language commands get. Default: this process. */
  readonly hostEnvironment?: Readonly<Record<string, string | undefined>>;
}

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
      // What has left its group is found by its variable, which no command may set.
      const killStrays = (former: string): void => killByVariable("TMPDIR", path.join(former, "tmp"));
      killStrays(realFolder(folder)); // Also of one that somebody else took away.
      await removeSandboxFolder(folder, (doomed, former) => {
        killCommands(path.join(doomed, "calls"), [doomed, former]);
        killStrays(former);
      });
    },
    list: async () => listFolders(options.root),
    async tidy(isCommitted) {
      for (const { id } of listFolders(options.root)) {
        await tidyTemporary(path.join(folderOf(id), "tmp"));
        await trimCalls(path.join(folderOf(id), "calls"), isCommitted);
      }
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
  terminal: true,
  tunnels: false,
  snapshots: "workspace",
  hostBound: true,
};

interface Host {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly launcher: Launcher;
}

function createSandbox(id: SandboxId, folder: string, host: Host): Sandbox {
  const workspace = path.join(folder, "workspace");
  const temporary = path.join(folder, "tmp");
  const environment = commandEnvironment(host.environment, { home: workspace, temporary });
  return createHostSandbox({
    id,
    folder,
    temporary,
    launcher: host.launcher,
    environment,
    startScript(command, call) {
      const cwd = workingFolder(workspace, command);
      // A secret stands over a variable of the same name, which `env` would otherwise set last.
      const { environment: own = {}, secrets = {} } = command;
      const variables = ownVariables(Object.fromEntries(Object.entries(own).filter(([name]) => !(name in secrets))));
      const env = { ...environment, ...secretVariables(secrets) };
      const args = [call, cwd, String(command.timeoutMs), argumentOf(command, call), ...variables];
      return { script: START_SCRIPT, args, env };
    },
    networkDecisions: async () => ({ decisions: [], next: 0 }),
    openTerminal: (options) =>
      openHostTerminal(
        {
          argv: ["/bin/sh", "-c", TERMINAL_SCRIPT, "perdure", ...ownVariables(options.environment)],
          cwd: workspace,
          environment: { ...environment, TERM: "xterm-256color" },
        },
        options,
      ),
  });
}

const TERMINAL_SCRIPT = 'shell=$(command -v bash || command -v sh); exec env "$@" "$shell"';

function workingFolder(workspace: string, { cwd }: CommandStart): string {
  return cwd === undefined || cwd === "" ? workspace : checkFolder(workspace, resolveInside(workspace, cwd), cwd);
}
