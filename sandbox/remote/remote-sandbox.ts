/** A Sandbox over an ExecChannel: commands, files and snapshots by POSIX sh inside, in any image that has `sh`. */
import type { SandboxId } from "../../contract/ids.ts";
import { taking } from "../given-stream.ts";
import type { Sandbox } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import type { ExecChannel } from "./channel.ts";
import { checkedCallId, createRemoteCommands } from "./remote-commands.ts";
import { createRemoteFiles } from "./remote-files.ts";
import { createRemoteListings } from "./remote-find.ts";
import { packRemote } from "./remote-pack.ts";
import { unpackRemote } from "./remote-unpack.ts";
import { shellWord } from "./shell-word.ts";
import { Shells } from "./shells.ts";

/** What a provider does by its own means; a member that is left out is one that its sandboxes do not have. */
export type RemoteExtras = Partial<
  Pick<Sandbox, "networkDecisions" | "snapshotImage" | "tunnels" | "openTerminal" | "endTerminal">
>;

export interface RemoteSandboxOptions {
  readonly id: SandboxId;
  readonly channel: ExecChannel;
  /** A real path inside the sandbox. Default `/workspace`. */
  readonly workspace?: string;
  /** The folder that holds `calls` and `tmp`, on the workspace's file system. Default `/perdure`. */
  readonly state?: string;
  /** Variables of all commands, over those of the image. HOME is the workspace unless it is named here. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly extras?: RemoteExtras;
  /** Called last by the handle's asyncDispose, when all its connections are closed. */
  readonly release?: () => Promise<void> | void;
}

export const REMOTE_STATE = "/perdure";
const FOLDERS = { workspace: "/workspace", state: REMOTE_STATE } as const;
const PREPARE_MS = 20_000;

/**
 * Makes the folders in a sandbox that was just made: later a workspace that is missing means a sandbox that is lost. Called
 * again it changes nothing. Throws SandboxError `failed`, in words, when the sandbox has no shell or may not be written.
 */
export async function prepareRemoteSandbox(
  options: Pick<RemoteSandboxOptions, "channel" | "workspace" | "state">,
): Promise<void> {
  const { workspace, state } = { ...FOLDERS, ...options };
  const folders = [workspace, `${state}/calls`, `${state}/tmp`].map(shellWord).join(" ");
  const ran = await options.channel.exec(["sh", "-c", `mkdir -p ${folders}`], {
    signal: AbortSignal.timeout(PREPARE_MS),
  });
  const exitCode = await ran.exit.catch(() => -1);
  if (exitCode === 0) return;
  throw new SandboxError(
    "failed",
    "the sandbox could not be prepared: its image needs a working `sh` with mkdir, and a disk that may be written",
  );
}

/** No request is made before the handle is used. */
export function createRemoteSandbox(options: RemoteSandboxOptions): Sandbox {
  const { id, channel, extras = {}, release } = options;
  const folders = { workspace: options.workspace ?? FOLDERS.workspace, state: options.state ?? FOLDERS.state };
  const environment = { HOME: folders.workspace, TERM: "dumb", ...options.environment };
  const shells = new Shells({ channel, ...folders, environment });
  return {
    id,
    workspace: folders.workspace,
    ...createRemoteCommands(shells, folders),
    ...createRemoteFiles(shells, folders),
    ...createRemoteListings(shells, folders),
    pack: async (paths) => packRemote(shells, paths),
    unpack: (tar) => taking(tar, () => unpackRemote(shells, folders, tar)),
    spoolPath: (callId, stream) => `${folders.state}/calls/${checkedCallId(callId)}/${stream}`,
    networkDecisions: async () => ({ decisions: [], next: 0 }),
    ...extras,
    async [Symbol.asyncDispose]() {
      shells.close();
      await release?.();
    },
  };
}
