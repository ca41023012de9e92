/** Files of a live workspace, read, written and removed through a short workflow on the host that has it. */
import path from "node:path";
import type { Request } from "express";
import { lookup } from "mime-types";
import { z } from "zod";
import { FileList, FileWritten } from "../../contract/http.ts";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { sendBlob } from "../blob-reply.ts";
import { callerOf } from "../caller-shares.ts";
import type { Dependencies } from "../dependencies.ts";
import { invalidField, parseFrom } from "../input.ts";
import { type Call, type Operation, operation, type Reply } from "../operation.ts";
import { integerParameter, SessionParams } from "../parameters.ts";
import { takeBody } from "../upload-body.ts";
import { type AnswerOf, askWorkspace, openSession } from "../workspace-call.ts";
import { workspacePath } from "../workspace-path.ts";

const PATH = "/v1/sessions/{sessionId}/files/{+path}";
const FileParams = SessionParams.extend({
  path: z
    .unknown()
    .optional()
    .meta({ description: "A path in the workspace; nothing is the workspace itself.", override: { type: "string" } }),
});
const DEPTH = 1;

export function fileOperations(deps: Dependencies): readonly Operation[] {
  return [readOperation(deps), writeOperation(deps), removeOperation(deps)];
}

const ReadQuery = z.strictObject({
  depth: integerParameter({ min: 1, max: LIMITS.listDepth.max }, "a depth")
    .optional()
    .meta({ description: `Of a folder: how far below it. Default ${DEPTH}.` }),
  archive: z
    .enum(["zip", "tar"], "expected zip or tar")
    .optional()
    .meta({ description: "A folder, or a file, packed with all that is in it." }),
});

function readOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: PATH,
    id: "readFile",
    summary: "Get a file's bytes, list a folder, or get either as an archive",
    description: `\`Range\` gets a part of a file. A file has at most ${LIMITS.fileBodyBytesMax} bytes, an archive ${LIMITS.archiveBytesMax}.`,
    params: FileParams,
    query: ReadQuery,
    answers: {
      200: {
        description: "A folder's files, or the bytes.",
        contentType: "application/json",
        schema: FileList,
        or: [{ description: "The bytes.", contentType: "*/*" }],
      },
      206: { description: "The part that `Range` asked for.", contentType: "*/*" },
      304: { description: "The client has them." },
    },
    problems: [
      ...(["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "PAYLOAD_TOO_LARGE"] as const),
      ...(["RANGE_NOT_SATISFIABLE", "UNAVAILABLE"] as const),
    ],
    handle: async (call) => {
      const { sessionId } = call.params;
      const { depth = DEPTH, archive } = call.query;
      const at = { sessionId, path: workspacePath(call.request.originalUrl) };
      await openSession(deps, sessionId);
      const answer = await askWorkspace(
        deps,
        archive === undefined ? { ...at, operation: "read", depth } : { ...at, operation: "archive", format: archive },
        ["folder", "file", "archive"],
      );
      try {
        return await answerWith(deps, answer, { ...at, archive, call });
      } finally {
        await deps.store.transit.remove(answer.transit);
      }
    },
  });
}

async function answerWith(
  deps: Dependencies,
  answer: AnswerOf<"folder" | "file" | "archive">,
  of: {
    readonly sessionId: SessionId;
    readonly path: string;
    readonly archive: string | undefined;
    readonly call: Pick<Call<unknown, unknown, unknown>, "request" | "response">;
  },
): Promise<Reply | undefined> {
  const { transit } = deps.store;
  if (answer.found === "folder") {
    const content = await transit.open(answer.transit);
    const listing: unknown = JSON.parse(Buffer.concat(await content.toArray()).toString("utf8"));
    return { status: 200, body: FileList.parse(listing) };
  }
  const name = of.archive === undefined ? of.path : `${path.posix.basename(of.path) || of.sessionId}.${of.archive}`;
  const contentType = lookup(name) || "application/octet-stream";
  await sendBlob(
    (range) => transit.open(answer.transit, range),
    { ...answer, contentType, path: name },
    { ...of.call, answers: deps.answers },
  );
  return undefined;
}

const WriteHeaders = z.object({
  "if-none-match": z
    .literal("*", "expected *, for a file that must not be there yet; nothing else is known here")
    .optional()
    .meta({ description: "`*`: only when nothing is there yet." }),
  "if-match": z
    .string()
    .regex(/^(?:\*|"[\x21\x23-\x7e]{0,128}")$/, "expected one ETag, as GET gives it, or *")
    .optional()
    .meta({ description: "An ETag: only when the file is still that one. `*`: only when it is there." }),
});

function writeOperation(deps: Dependencies): Operation {
  return operation({
    method: "put",
    path: PATH,
    id: "writeFile",
    summary: "Write a file",
    description:
      `The body is the file, at most ${LIMITS.fileBodyBytesMax} bytes of any type. Folders are made as needed. ` +
      "The file is replaced at once when all of it has come; what breaks off leaves what was there. Of several that ask for a " +
      "new file with `If-None-Match: *`, or for the same one with `If-Match`, one succeeds.",
    headers: WriteHeaders,
    params: FileParams,
    takesBytes: true,
    answers: { 200: { description: "It is written.", contentType: "application/json", schema: FileWritten } },
    problems: [
      ...(["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "PRECONDITION_FAILED"] as const),
      ...(["PAYLOAD_TOO_LARGE", "UNAVAILABLE", "REQUEST_TIMEOUT", "INSUFFICIENT_STORAGE"] as const),
    ],
    handle: async ({ params, request, response }) => {
      const file = filePath(request.originalUrl);
      const { sessionId } = params;
      const condition = conditionOf(request);
      const { transit } = deps.store;
      const length = request.get("content-length");
      if (Number(length ?? 0) <= LIMITS.fileBodyBytesMax) await openSession(deps, sessionId);
      using share = await deps.bodies.upload({
        caller: callerOf(request.socket),
        length: length === undefined ? undefined : Number(length),
        bytesMax: LIMITS.fileBodyBytesMax,
      });
      const put = await takeBody({ request, response, share, pace: deps.bounds }, async (body, bytesMax) => {
        await openSession(deps, sessionId);
        return await transit.put(body, { bytesMax });
      });
      try {
        const work = { sessionId, path: file, operation: "write", transit: put.id, ...condition } as const;
        await askWorkspace(deps, work, ["written"]);
      } finally {
        await transit.remove(put.id);
      }
      return { status: 200, body: { path: file, bytes: put.bytes, sha256: put.sha256 } };
    },
  });
}

function conditionOf(request: Request): { readonly create: boolean; readonly match?: string } {
  if (request.get("content-range") !== undefined) {
    throw invalidField("/headers/content-range", "expected the whole file; a part of one cannot be written");
  }
  const names = ["if-none-match", "if-match"] as const;
  const given = Object.fromEntries(names.map((name) => [name, request.get(name)?.trim()]));
  const headers = parseFrom(WriteHeaders, given, "headers");
  const match = headers["if-match"]?.replaceAll('"', "");
  return { create: headers["if-none-match"] !== undefined, ...(match !== undefined && { match }) };
}

const RemoveQuery = z.strictObject({
  recursive: z
    .enum(["true", "false"], "expected true or false")
    .optional()
    .meta({ description: "`true`: a folder goes with all that is in it." }),
});

function removeOperation(deps: Dependencies): Operation {
  return operation({
    method: "delete",
    path: PATH,
    id: "removeFile",
    summary: "Remove a file or a folder",
    description: "Of a symlink, the link itself. A folder that is not empty needs `?recursive=true`.",
    params: FileParams,
    query: RemoveQuery,
    answers: { 204: { description: "It is gone." } },
    problems: ["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "UNAVAILABLE"],
    handle: async ({ params, query, request }) => {
      const file = filePath(request.originalUrl);
      const { sessionId } = params;
      await openSession(deps, sessionId);
      const recursive = query.recursive === "true";
      await askWorkspace(deps, { sessionId, path: file, operation: "remove", recursive }, ["removed"]);
      return { status: 204 };
    },
  });
}

/** Throws INVALID_INPUT for the workspace itself, too. */
function filePath(url: string): string {
  const file = workspacePath(url);
  if (file === "") throw invalidField("/path/path", "expected the path of a file, not the workspace itself");
  return file;
}
