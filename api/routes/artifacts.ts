/** Artifacts: what a session has made and keeps. */
import { ProblemError } from "../../contract/errors.ts";
import { ArtifactList } from "../../contract/http.ts";
import { listArtifacts } from "../../store/artifacts.ts";
import { getSession } from "../../store/sessions.ts";
import { sendBlob } from "../blob-reply.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { ArtifactParams, SessionParams } from "../parameters.ts";

const BYTES = "*/*";

export function artifactOperations(deps: Dependencies): readonly Operation[] {
  const { database, blobs } = deps.store;
  return [
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/artifacts",
      id: "listArtifacts",
      summary: "List the artifacts, oldest first",
      params: SessionParams,
      answers: { 200: { description: "All artifacts.", contentType: "application/json", schema: ArtifactList } },
      problems: ["SESSION_NOT_FOUND"],
      handle: async ({ params }) => {
        await getSession(database, params.sessionId);
        return { status: 200, body: { artifacts: await listArtifacts(database, params.sessionId) } };
      },
    }),
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/artifacts/{artifactId}",
      id: "getArtifact",
      summary: "Get an artifact's bytes",
      description: "`Range` gets a part of them; `ETag` is their SHA-256.",
      params: ArtifactParams,
      answers: {
        200: { description: "The bytes.", contentType: BYTES },
        206: { description: "The part that `Range` asked for.", contentType: BYTES },
        304: { description: "The client has them." },
      },
      problems: ["SESSION_NOT_FOUND", "NOT_FOUND", "RANGE_NOT_SATISFIABLE"],
      handle: async ({ params, request, response }) => {
        await getSession(database, params.sessionId);
        const artifacts = await listArtifacts(database, params.sessionId);
        const artifact = artifacts.find((other) => other.id === params.artifactId);
        if (!artifact) {
          throw new ProblemError(
            "NOT_FOUND",
            `session ${params.sessionId} has no artifact ${params.artifactId}; list them first`,
          );
        }
        await sendBlob((range) => blobs.open(artifact.sha256, range), artifact, {
          request,
          response,
          answers: deps.answers,
        });
        return undefined;
      },
    }),
  ];
}
