/**
 * The inside of a sandbox without network: a relay that listens on 127.0.0.1 there and passes every byte to the proxy's
 * socket and back. It decides nothing: whoever gets around it finds the same proxy behind the same socket.
 */
import { readlinkSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type DetachedScript, spawnDetached } from "../detached.ts";
import { SandboxError } from "../provider.ts";
import { gateFolder, SOCKET_NAME } from "./egress.ts";
import { makePlace, readHolder, readReady, startHolder, stopHolder } from "./holder.ts";

/** Where programs in the sandbox find the proxy. */
export const RELAY_PORT = 3128;

const HERE = fileURLToPath(import.meta.url);
const EXTENSION = path.extname(HERE);
const PROGRAM = path.join(path.dirname(HERE), `relay-process${EXTENSION}`);
const CONTAINER_PROGRAM = path.join(path.dirname(HERE), `container-relay-process${EXTENSION}`);
const NODE_OPTIONS = ["--no-warnings", "--max-old-space-size=64", "--max-semi-space-size=1"];

/** Inside. The program's name says that it is a module, as there is no package.json beside it. */
const INNER = {
  node: "/perdure/relay/node",
  program: `/perdure/relay/relay.m${EXTENSION.slice(1)}`,
  gate: "/perdure/egress",
};

export interface Bind {
  /** On the host. */
  readonly source: string;
  /** Inside. */
  readonly target: string;
}

/** What must be shown inside, read-only, for `relayPrelude`. `folder` is the one that `startEgress` was given. */
export function relayBinds(folder: string): readonly Bind[] {
  return [
    { source: process.execPath, target: INNER.node },
    { source: PROGRAM, target: INNER.program },
    { source: gateFolder(folder), target: INNER.gate },
  ];
}

/**
 * Lines of POSIX sh to be run in the command's namespaces before the command. They end when the relay listens (or could not:
 * then the command finds nobody at the port) and leave its pid there in `$relay`, empty when there is none. The relay holds
 * none of the shell's outputs open, has nothing of the command's environment, and is deaf to TERM, INT and HUP: it ends with
 * its pid namespace, or by KILL.
 */
export function relayPrelude(port: number = RELAY_PORT): string {
  const argv = [INNER.node, ...NODE_OPTIONS, INNER.program, "inside", String(port), `${INNER.gate}/${SOCKET_NAME}`];
  // The substitution ends when the relay closes its standard output, after it has written its pid there.
  return `relay=$(exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; env -i ${argv.join(" ")} </dev/null 2>/dev/null &)\n`;
}

/** By these variables curl, git, pip, npm, Node and the like find the proxy. */
export function proxyVariables(port: number = RELAY_PORT): Readonly<Record<string, string>> {
  const proxy = `http://127.0.0.1:${port}`;
  const direct = "localhost,127.0.0.1,::1";
  return {
    ...{ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, ALL_PROXY: proxy, NO_PROXY: direct },
    ...{ http_proxy: proxy, https_proxy: proxy, all_proxy: proxy, no_proxy: direct },
    NODE_USE_ENV_PROXY: "1",
  };
}

export interface ContainerRelay {
  /** The folder that `startEgress` was given. */
  readonly folder: string;
  /** The host's pid of a process whose network namespace the relay enters. */
  readonly pid: number;
  readonly port?: number;
  readonly run?: (script: DetachedScript) => Promise<void>;
}

/**
 * Sees to it that a relay runs in the network namespace of a container on this host; needs root and `nsenter`. As with
 * `startEgress`: any number of times, one process, tied to nobody; a container that was started anew gets one anew. It ends
 * by `stopContainerRelay`, or by itself soon after the container's process or the folder is gone.
 * Throws SandboxError: `failed` when it does not start in time, `lost` when that process or the folder is gone.
 */
export async function startContainerRelay(relay: ContainerRelay): Promise<void> {
  const { folder, pid, port = RELAY_PORT, run = spawnDetached } = relay;
  const place = relayPlace(folder);
  const namespace = networkNamespace(pid);
  if (namespace === undefined) throw new SandboxError("lost", "the container is gone: its process is not there");
  const wanted = `${namespace}:${port}`;
  const held = readHolder(place);
  const ready = readReady(place);
  if (held && ready?.number === held.number && ready.told !== wanted) await stopHolder(place);
  try {
    makePlace(place);
  } catch (cause) {
    throw new SandboxError("lost", "the sandbox is gone: its folder is missing", { cause });
  }
  const enter = ["nsenter", `--net=/proc/${pid}/ns/net`];
  const program = [
    process.execPath,
    ...NODE_OPTIONS,
    CONTAINER_PROGRAM,
    String(port),
    gateFolder(folder),
    String(pid),
    place,
  ];
  await startHolder({
    place,
    name: "the relay into the container's network",
    argv: [...enter, ...program],
    run,
  });
}

export async function stopContainerRelay(folder: string): Promise<void> {
  await stopHolder(relayPlace(folder));
}

function relayPlace(folder: string): string {
  return path.join(folder, "egress", "relay");
}

function networkNamespace(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
