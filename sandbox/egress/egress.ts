/**
 * The way out of a sandbox that has no network: one proxy process per sandbox, with the sandbox's allow-list.
 *
 * `<sandbox folder>/egress/` holds `allow.json` (the list of the first start, which stands), `gate/proxy.sock` (where the proxy
 * listens: a folder of its own, as it is all that is shown inside), `decisions/` (see decisions.ts) and `proxy/` (who runs).
 * The process is tied to nobody: it outlives the worker, as commands in mid-download do. It ends by `stopEgress`, or by
 * itself soon after its folder is gone. See relay.ts for the inside.
 */
import { randomUUID } from "node:crypto";
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { AllowedHost } from "../../contract/sandbox.ts";
import { type DetachedScript, spawnDetached } from "../detached.ts";
import { SandboxError } from "../provider.ts";
import { allowList } from "./allow-list.ts";
import { makePlace, startHolder, stopHolder } from "./holder.ts";

const HERE = fileURLToPath(import.meta.url);
const PROGRAM = path.join(path.dirname(HERE), `proxy-process${path.extname(HERE)}`);
/** It passes bytes on: a small heap is enough, and there is one of it per sandbox. */
const NODE_OPTIONS = ["--no-warnings", "--max-old-space-size=96", "--max-semi-space-size=1"];

export interface EgressStart {
  /** The sandbox's folder on this host, which must be there. No command of the sandbox may be able to write to it. */
  readonly folder: string;
  readonly allow: readonly AllowedHost[];
  /** How a process is started: a launcher's `run` spares a fork of a large process. Default: by ourselves. */
  readonly run?: (script: DetachedScript) => Promise<void>;
}

/**
 * Sees to it that the sandbox's proxy runs and listens. May be called at any time by any number of processes, before each
 * command say: there is never more than one proxy, one that died is followed by another, and with one running this costs
 * less than a millisecond. Throws SandboxError: `failed` when an entry of the list cannot be understood or the proxy does not
 * start in time, `lost` when the folder is gone.
 */
export async function startEgress({ folder, allow, run = spawnDetached }: EgressStart): Promise<void> {
  const place = proxyPlace(folder);
  if (!existsSync(path.join(place, "claims"))) layOut(folder, allow);
  await startHolder({
    place,
    name: "the proxy for the sandbox's network",
    argv: [process.execPath, ...NODE_OPTIONS, PROGRAM, folder],
    run,
  });
}

/** Ends the sandbox's proxy, and with it the connections that it holds. Resolves when it is gone; no error if there is none. */
export async function stopEgress(folder: string): Promise<void> {
  await stopHolder(proxyPlace(folder));
}

/** Where the proxy's process is claimed, within a sandbox's folder. */
export function proxyPlace(folder: string): string {
  return path.join(folder, "egress", "proxy");
}

/** The folder of the proxy's socket. The socket in it is replaced when the proxy is, so the folder is what must be shown inside. */
export function gateFolder(folder: string): string {
  return path.join(folder, "egress", "gate");
}

export const SOCKET_NAME = "proxy.sock";

/** Not recursive from above: the folder of a removed sandbox must not come back. */
function layOut(folder: string, allow: readonly AllowedHost[]): void {
  allowList(allow);
  const egress = path.join(folder, "egress");
  try {
    for (const made of [egress, gateFolder(folder), path.join(egress, "decisions")]) makeFolder(made);
    writeOnce(path.join(egress, "allow.json"), JSON.stringify(allow));
    // Last, as it is what tells that all of this is there.
    makePlace(proxyPlace(folder));
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    throw new SandboxError(
      code === "ENOENT" ? "lost" : "failed",
      `no place could be made for the sandbox's proxy (${code})`,
      { cause: thrown },
    );
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (thrown) {
    if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
  }
}

/** Whole or not at all, and the first one stands. */
function writeOnce(file: string, text: string): void {
  const written = `${file}.${randomUUID()}`;
  writeFileSync(written, text, { mode: 0o600 });
  try {
    linkSync(written, file);
  } catch (thrown) {
    if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
  } finally {
    rmSync(written, { force: true });
  }
}
