/** Lists, reads, packs, writes and removes files of a live workspace for the API, which itself touches no sandbox. */
import { Context } from "@temporalio/activity";
import type { FileList } from "../contract/http.ts";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceAnswer, WorkspaceProblem, WorkspaceRequest } from "../contract/workspace.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import { idleMsOf, noteUse } from "../store/sandbox-use.ts";
import { currentSandbox } from "../store/sandboxes.ts";
import { TooLongError } from "../store/transit.ts";
import { admitted } from "./admission.ts";
import type { RunningAttempt } from "./attempt.ts";
import { download } from "./download.ts";
import { DownloadError, type DownloadRules } from "./download-fetch.ts";
import { publishFileChanges } from "./file-changes.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { withoutSecrets } from "./secret-choice.ts";
import { openSandbox } from "./session-sandbox.ts";
import { packArchive } from "./workspace-archive.ts";
import { writeInTurn } from "./workspace-write.ts";

export type ServeWorkspace = (work: WorkspaceRequest) => Promise<WorkspaceAnswer>;
/** Without rules, a download reaches public addresses only. */
export type ServeWorkspaceDeps = RunToolDeps & { readonly downloads?: DownloadRules };

/** Sandboxes that one request may lose before it is told so. */
const SANDBOXES_MAX = 3;

type Work<Operation extends WorkspaceRequest["operation"]> = Extract<WorkspaceRequest, { operation: Operation }>;

export function createServeWorkspace(deps: ServeWorkspaceDeps): ServeWorkspace {
  return async (work) =>
    (await admitted(deps, { key: work, kinds: ["workspace"] }, async (running) => {
      try {
        return await serve(deps, work, running);
      } catch (error) {
        const refusal = refusalOf(error);
        if (!refusal) throw error;
        return refusal;
      }
    })) ?? nothing("NOT_FOUND", "the session is gone, and its workspace with it");
}

async function serve(
  deps: ServeWorkspaceDeps,
  work: WorkspaceRequest,
  running: RunningAttempt,
): Promise<WorkspaceAnswer> {
  const isLook = work.operation === "read" || work.operation === "archive" || work.operation === "remove";
  // To look makes no sandbox; one that sleeps is woken, because its files are there.
  if (isLook && !(await currentSandbox(deps.store.database, work.sessionId))) {
    return nothing("NOT_FOUND", "the session has no sandbox yet: it is made when an agent or a write first needs it");
  }
  for (let lost = 0; ; lost++) {
    try {
      await using sandbox = await openSandbox(deps, work.sessionId);
      using _use = await staysUsed(deps, work.sessionId);
      const answer = await done(deps, sandbox, { work, signal: running.signal });
      if (work.operation !== "read" && work.operation !== "archive") await tellChanges(deps, work.sessionId, sandbox);
      return answer;
    } catch (error) {
      // Its files are in the next one: a look finds them there, and a write leaves there what it would have left here.
      if (!(error instanceof SandboxError && error.kind === "lost") || lost >= SANDBOXES_MAX) throw error;
    }
  }
}

/** A large file may take longer than a sandbox may idle. */
async function staysUsed(deps: ServeWorkspaceDeps, sessionId: SessionId): Promise<Disposable> {
  const { database } = deps.store;
  const record = await currentSandbox(database, sessionId);
  if (!record) return { [Symbol.dispose]: () => undefined };
  const timer = setInterval(() => {
    // The next beat tries again.
    noteUse(database, record).catch(() => undefined);
  }, idleMsOf(record) / 2);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Whoever follows the log sees what came from outside, too, and the next call is not taken for its maker. */
async function tellChanges(deps: ServeWorkspaceDeps, sessionId: SessionId, sandbox: Sandbox): Promise<void> {
  try {
    await publishFileChanges(deps, { sessionId, sandbox });
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error; // It is gone by now, and was there for what was asked.
  }
}

async function done(
  deps: ServeWorkspaceDeps,
  sandbox: Sandbox,
  { work, signal }: { readonly work: WorkspaceRequest; readonly signal: AbortSignal },
): Promise<WorkspaceAnswer> {
  switch (work.operation) {
    case "read":
      return await read(deps, sandbox, work);
    case "archive":
      return await packArchive(deps.store.transit, sandbox, { ...work, signal });
    case "write":
      return await writeInTurn(deps.store.transit, sandbox, work);
    case "remove":
      return await remove(sandbox, work);
    case "download":
      return await download(deps, sandbox, { ...work, signal });
  }
}

/** What can be said in words is an answer; the rest is tried again by Temporal. */
function refusalOf(error: unknown): WorkspaceAnswer | undefined {
  if (error instanceof DownloadError) return nothing(error.code, error.message);
  if (error instanceof TooLongError) return nothing("PAYLOAD_TOO_LARGE", error.message);
  if (!(error instanceof SandboxError)) return undefined;
  switch (error.kind) {
    case "not_found":
    case "lost":
      return nothing("NOT_FOUND", error.message);
    case "denied":
      return nothing("INVALID_INPUT", error.message);
    case "too_large":
      return nothing("PAYLOAD_TOO_LARGE", error.message);
    case "is_folder":
    case "failed":
      return nothing("CONFLICT", error.message);
  }
}

async function read(deps: ServeWorkspaceDeps, sandbox: Sandbox, work: Work<"read">): Promise<WorkspaceAnswer> {
  const { transit } = deps.store;
  const path = work.path === "" ? "." : work.path;
  const info = await sandbox.stat(path);
  if (!info) return nothing("NOT_FOUND", `there is no ${path} in the workspace`);
  if (info.kind === "folder") {
    const max = LIMITS.filesListedMax;
    const entries = await sandbox.listFiles(path, { depth: work.depth, max: max + 1 });
    const files = entries.slice(0, max).map((entry) => ({ ...entry, path: withoutSecrets(deps.secrets, entry.path) }));
    const list: FileList = { path: work.path, truncated: entries.length > max, files };
    return inTransit("folder", await transit.put(Buffer.from(JSON.stringify(list))));
  }
  if (info.kind === "other") return nothing("CONFLICT", `${path} is neither a file nor a folder`);
  if (info.bytes > LIMITS.fileBodyBytesMax) {
    const most = LIMITS.fileBodyBytesMax;
    return nothing("PAYLOAD_TOO_LARGE", `${path} has ${info.bytes} bytes; at most ${most} are sent at once: split it`);
  }
  return inTransit("file", await transit.put(await sandbox.openFile(path)));
}

function inTransit(
  found: "folder" | "file",
  { id, bytes, sha256 }: { readonly id: string; readonly bytes: number; readonly sha256: string },
): WorkspaceAnswer {
  return { found, transit: id, bytes, sha256 };
}

async function remove(sandbox: Sandbox, { path, recursive }: Work<"remove">): Promise<WorkspaceAnswer> {
  if (!recursive && (await isFullFolder(sandbox, path))) {
    return nothing(
      "CONFLICT",
      `${path} is a folder that is not empty; ?recursive=true removes it with all that is in it`,
    );
  }
  const wasThere = await sandbox.removeFile(path);
  // An attempt before this one may have removed it, and been lost with its answer.
  if (wasThere || Context.current().info.attempt > 1) return { found: "removed" };
  return nothing("NOT_FOUND", `there is no ${path} in the workspace`);
}

async function isFullFolder(sandbox: Sandbox, path: string): Promise<boolean> {
  try {
    if ((await sandbox.stat(path))?.kind !== "folder") return false;
    if ((await sandbox.listFiles(path, { depth: 1, max: 1 })).length === 0) return false;
  } catch (error) {
    // A symlink that leads out of the workspace, or to nothing: removed as what it is.
    if (error instanceof SandboxError && error.kind !== "lost") return false;
    throw error;
  }
  return !(await isSymlink(sandbox, path));
}

async function isSymlink(sandbox: Sandbox, path: string): Promise<boolean> {
  const isAbove = (seen: string): boolean => seen.endsWith("/") && path.startsWith(seen);
  const skip = (seen: string): boolean => seen !== path && !isAbove(seen);
  const entries = await sandbox.scan({ skip, max: LIMITS.filesListedMax });
  return entries.some((entry) => entry.path === path && entry.kind === "symlink");
}

export function nothing(code: WorkspaceProblem, message: string): WorkspaceAnswer {
  return { found: "nothing", code, message };
}
