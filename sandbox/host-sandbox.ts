/**
 * A sandbox that is a folder of this host: `workspace`, `calls` (what the supervisor writes) and whatever its provider adds.
 * The supervisor runs on the host; how a command is put into its place is the provider's.
 */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CallId, SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { readClaim } from "./call-folder.ts";
import type { DetachedScript } from "./detached.ts";
import { createSandboxFiles } from "./files.ts";
import { codeOf } from "./host-errors.ts";
import { HeldFolders } from "./host-folders.ts";
import type { Frozen } from "./host-removal.ts";
import type { Launcher } from "./launcher.ts";
import type { CommandStart, Sandbox } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import { followCall } from "./spool.ts";
import { KILL_SCRIPT } from "./supervisor.ts";

export interface HostSandboxParts {
  readonly id: SandboxId;
  /** A real path. */
  readonly folder: string;
  /** For files while they are written, below the folder. */
  readonly temporary: string;
  /** What commands call the two folders, where that is something else. */
  readonly inside?: { readonly workspace: string; readonly calls: string };
  /** Holds the sandbox's programs still, where that is possible. */
  readonly frozen?: Frozen | undefined;
  readonly launcher: Launcher;
  /** Of the supervisor. */
  readonly environment: Readonly<Record<string, string>>;
  /** What is to be run to start a command whose call folder is there. Nothing of it may have an effect before it is run. */
  startScript(command: CommandStart, call: string): DetachedScript | Promise<DetachedScript>;
  /** Called when a command or a terminal has been started. */
  readonly started?: () => Promise<void>;
  readonly networkDecisions: Sandbox["networkDecisions"];
  readonly openTerminal: NonNullable<Sandbox["openTerminal"]>;
}

/** A longer argument than this is refused by the kernel (128 KiB), so the command then goes by file. */
const ARGUMENT_BYTES_MAX = 100 * 1024;

export function createHostSandbox(parts: HostSandboxParts): Sandbox {
  const { id, folder, inside, launcher, environment } = parts;
  const workspace = path.join(folder, "workspace");
  const calls = path.join(folder, "calls");
  const callFolder = (callId: CallId): string => path.join(calls, checkedCallId(callId));
  const checkThere = (): void => {
    if (!existsSync(workspace)) throw new SandboxError("lost", `the sandbox ${id} is gone: its folder is missing`);
  };
  return {
    id,
    workspace: inside?.workspace ?? workspace,
    ...createSandboxFiles({
      workspace,
      calls,
      temporary: parts.temporary,
      frozen: parts.frozen,
      ...(inside && { inside }),
    }),
    async start(command) {
      const call = callFolder(command.callId);
      if (readClaim(call) !== undefined) return;
      checkThere();
      checkStart(command);
      makeCallFolder(call);
      const script = await parts.startScript(command, call);
      if (command.input !== undefined) putInto(call, "input", command.input);
      await runScript(launcher, script);
      await parts.started?.();
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
    spoolPath: (callId, stream) => path.join(inside?.calls ?? calls, checkedCallId(callId), stream),
    networkDecisions: parts.networkDecisions,
    openTerminal: async (options) => {
      checkThere();
      const terminal = await parts.openTerminal(options);
      await parts.started?.();
      return terminal;
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** The command as an argument, or an empty one after it was put into the file `command` of the call folder. */
export function argumentOf({ command }: CommandStart, call: string): string {
  if (command !== "" && Buffer.byteLength(command) <= ARGUMENT_BYTES_MAX) return command;
  putInto(call, "command", command);
  return "";
}

/** Ids are path parts here, so they are checked although they have a type. */
export function checkedSandboxId(id: SandboxId): string {
  if (SandboxId.safeParse(id).success) return id;
  throw new SandboxError("denied", "expected a sandbox id: sbx_ and letters, digits, _ or -");
}

/** Throws SandboxError `not_found` when that is no folder below `root`. `real` is what the given path leads to. */
export function checkFolder(root: string, real: string, given: string): string {
  try {
    using held = new HeldFolders(root);
    held.folder(path.relative(root, real).split(path.sep).filter(Boolean));
    return real;
  } catch (cause) {
    const how = codeOf(cause) === "ENOENT" ? "does not exist" : "is not a folder";
    throw new SandboxError("not_found", `the working folder ${given} ${how}`, { cause });
  }
}

function checkedCallId(id: CallId): string {
  if (CallId.safeParse(id).success) return id;
  throw new SandboxError("denied", "expected a call id: call_ and letters, digits, _ or -");
}

function checkStart({ command, input }: CommandStart): void {
  if (command.includes("\0")) throw new SandboxError("failed", "the command holds a NUL byte, which no shell takes");
  const most = LIMITS.commandInputBytesMax;
  if (input === undefined || input.byteLength <= most) return;
  throw new SandboxError("too_large", `the input has ${input.byteLength} bytes; expected at most ${most}`);
}

/** By rename: another starter of the same call may have its command reading this file already. */
function putInto(call: string, name: string, content: string | Uint8Array): void {
  const written = path.join(call, `.${name}-${randomUUID()}`);
  writeFileSync(written, content);
  renameSync(written, path.join(call, name));
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
