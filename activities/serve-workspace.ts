/** Lists, reads or writes a file of a live workspace for the API, which itself touches no sandbox. */
import type { Readable } from "node:stream";
import type { FileList } from "../contract/http.ts";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { findSandbox, openSandbox } from "./session-sandbox.ts";

export type ServeWorkspace = (work: WorkspaceRequest) => Promise<WorkspaceAnswer>;

export function createServeWorkspace(deps: RunToolDeps): ServeWorkspace {
  return async (work) => {
    try {
      if (work.operation === "write") return await write(deps, work);
      const sandbox = await findSandbox(deps, work.sessionId);
      if (!sandbox)
        return nothing("NOT_FOUND", "the session has no live sandbox yet: it is made when an agent first needs it");
      return await read(deps, sandbox, work);
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      switch (error.kind) {
        case "not_found":
        case "lost":
          return nothing("NOT_FOUND", error.message);
        case "denied":
        case "too_large":
          return nothing("INVALID_INPUT", error.message);
        case "is_folder":
        case "failed":
          return nothing("CONFLICT", error.message);
      }
    }
  };
}

async function read(deps: RunToolDeps, sandbox: Sandbox, work: WorkspaceRequest): Promise<WorkspaceAnswer> {
  const path = work.path === "" ? "." : work.path;
  const info = await sandbox.stat(path);
  if (!info) return nothing("NOT_FOUND", `there is no ${path} in the workspace`);
  if (info.kind === "folder") {
    const entries = await sandbox.listFiles(path, { depth: 1, max: LIMITS.listEntriesMax });
    const list: FileList = { path: work.path, files: entries.map((entry) => ({ ...entry })) };
    const blob = await deps.store.blobs.put(Buffer.from(JSON.stringify(list)));
    return { found: "folder", ...blob };
  }
  if (info.kind === "other") return nothing("CONFLICT", `${path} is neither a file nor a folder`);
  return { found: "file", ...(await deps.store.blobs.put(await sandbox.openFile(path))) };
}

async function write(deps: RunToolDeps, work: WorkspaceRequest): Promise<WorkspaceAnswer> {
  if (work.sha256 === undefined) return nothing("INVALID_INPUT", "a write needs content");
  const sandbox = await openSandbox(deps, work.sessionId);
  const content = await bytesOf(await deps.store.blobs.open(work.sha256));
  await sandbox.writeFile(work.path, content);
  return { found: "written", bytes: content.length };
}

async function bytesOf(stream: Readable): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

function nothing(code: "NOT_FOUND" | "INVALID_INPUT" | "CONFLICT", message: string): WorkspaceAnswer {
  return { found: "nothing", code, message };
}
