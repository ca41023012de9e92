/** Files of a live workspace, read and written through a short workflow on the host that has it. */
import type { Request } from "express";
import { lookup } from "mime-types";
import { z } from "zod";
import { ProblemError } from "../../contract/errors.ts";
import { FileList, FileWritten } from "../../contract/http.ts";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { WorkspaceAnswer, WorkspaceRequest } from "../../contract/workspace.ts";
import { StoreError } from "../../store/error.ts";
import { getSession } from "../../store/sessions.ts";
import { sendBlob } from "../blob-reply.ts";
import type { Dependencies } from "../dependencies.ts";
import { invalidField } from "../input.ts";
import { type Call, type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";
import { workspacePath } from "../workspace-path.ts";

const PATH = "/v1/sessions/{sessionId}/files/{+path}";
const FileParams = SessionParams.extend({
  path: z
    .unknown()
    .optional()
    .meta({ description: "A path in the workspace; nothing is the workspace itself.", override: { type: "string" } }),
});
type FileCall = Pick<Call<{ sessionId: SessionId }, unknown, unknown>, "request" | "response" | "params">;

export function fileOperations(deps: Dependencies): readonly Operation[] {
  return [readOperation(deps), writeOperation(deps)];
}

function readOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: PATH,
    id: "readFile",
    summary: "Get a file's bytes, or list a folder",
    params: FileParams,
    answers: {
      200: {
        description: "A folder's files, or a file's bytes.",
        contentType: "application/json",
        schema: FileList,
        or: [{ description: "The bytes.", contentType: "*/*" }],
      },
      206: { description: "The part that `Range` asked for.", contentType: "*/*" },
      304: { description: "The client has them." },
    },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "RANGE_NOT_SATISFIABLE", "UNAVAILABLE"],
    handle: async (call) => {
      const path = workspacePath(call.request.originalUrl);
      await requireOpen(deps, call.params.sessionId);
      try {
        return await read(deps, path, call);
      } catch (error) {
        // Another reader of the same bytes may have had them removed just now; they are brought again.
        if (!(error instanceof StoreError && error.kind === "corrupt") || call.response.headersSent) throw error;
        return await read(deps, path, call);
      }
    },
  });
}

async function read(deps: Dependencies, path: string, call: FileCall) {
  const { sessionId } = call.params;
  const answer = await ask(deps, { sessionId, operation: "read", path });
  if (answer.found === "written") throw new Error("a read was answered as a write");
  deps.temporary.used(answer.sha256);
  try {
    if (answer.found === "file") {
      const contentType = lookup(path) || "application/octet-stream";
      await sendBlob(deps.store.blobs, { ...answer, contentType, path }, call);
      return undefined;
    }
    const content = await deps.store.blobs.open(answer.sha256);
    const listing: unknown = JSON.parse(Buffer.concat(await content.toArray()).toString("utf8"));
    return { status: 200, body: FileList.parse(listing) };
  } finally {
    deps.temporary.used(answer.sha256);
  }
}

function writeOperation(deps: Dependencies): Operation {
  return operation({
    method: "put",
    path: PATH,
    id: "writeFile",
    summary: "Write a file",
    description: `The body is the file, at most ${LIMITS.bodyBytesMax} bytes of any type. Folders are made as needed.`,
    params: FileParams,
    takesBytes: true,
    answers: { 200: { description: "It is written.", contentType: "application/json", schema: FileWritten } },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "PAYLOAD_TOO_LARGE", "UNAVAILABLE"],
    handle: async ({ params, request }) => {
      const path = workspacePath(request.originalUrl);
      if (path === "") throw invalidField("/path/path", "expected the path of a file");
      const { sessionId } = params;
      await requireOpen(deps, sessionId);
      const { sha256, bytes } = await deps.store.blobs.put(bytesOf(request));
      try {
        await ask(deps, { sessionId, operation: "write", path, sha256 });
      } finally {
        deps.temporary.used(sha256);
      }
      return { status: 200, body: { path, bytes, sha256 } };
    },
  });
}

function bytesOf(request: Request): Buffer {
  // The parser leaves it undefined when there is no body at all: an empty file.
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

async function requireOpen(deps: Dependencies, sessionId: SessionId): Promise<void> {
  const session = await getSession(deps.store.database, sessionId);
  if (session.closedAt !== null) {
    throw new ProblemError(
      "SESSION_CLOSED",
      `session ${sessionId} is closed and its workspace is gone; its artifacts are still there`,
    );
  }
}

async function ask(
  deps: Dependencies,
  request: WorkspaceRequest,
): Promise<Exclude<WorkspaceAnswer, { found: "nothing" }>> {
  const answer = await deps.sessions.workspace(request);
  if (answer.found === "nothing") throw new ProblemError(answer.code, answer.message);
  return answer;
}
