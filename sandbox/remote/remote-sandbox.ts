/** A Sandbox over an ExecChannel: commands, files and snapshots by POSIX sh inside, in any image that has `sh`. */
import type { SandboxId } from "../../contract/ids.ts";
import type { Sandbox } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import type { ExecChannel } from "./channel.ts";

/** What a provider does by its own means; a member that is left out is one that its sandboxes do not have. */
export type RemoteExtras = Partial<Pick<Sandbox, "networkDecisions" | "snapshotImage" | "tunnels" | "openTerminal">>;

export interface RemoteSandboxOptions {
  readonly id: SandboxId;
  readonly channel: ExecChannel;
  /** Default `/workspace`. It is made when it is missing on the first use of the sandbox (`prepareRemoteSandbox`), not later. */
  readonly workspace?: string;
  /** The folder that holds `calls` and `tmp`, on the workspace's file system. Default `/perdure`. */
  readonly state?: string;
  /** Variables of all commands, over those of the image. HOME is the workspace unless it is named here. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly extras?: RemoteExtras;
  /** Called last by the handle's asyncDispose, when all its connections are closed. */
  readonly release?: () => Promise<void> | void;
}

/**
 * Makes the folders in a sandbox that was just made. Called again it changes nothing. Throws SandboxError `failed`, in words,
 * when the image lacks what commands need.
 */
export async function prepareRemoteSandbox(_options: RemoteSandboxOptions): Promise<void> {
  throw new SandboxError("failed", "not yet");
}

/** No request is made before the handle is used. */
export function createRemoteSandbox(_options: RemoteSandboxOptions): Sandbox {
  throw new SandboxError("failed", "not yet");
}
