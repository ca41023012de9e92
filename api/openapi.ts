/** The OpenAPI 3.1 document, made from the operations themselves and their zod schemas. */
import {
  createDocument,
  type ZodOpenApiOperationObject,
  type ZodOpenApiPathsObject,
  type ZodOpenApiResponsesObject,
} from "zod-openapi";
import { PROBLEMS, Problem, type ProblemCode } from "../contract/errors.ts";
import { SessionEvent } from "../contract/events.ts";
import type { Answer, Operation } from "./operation.ts";
import { PROBLEM_TYPE } from "./problem.ts";

export type OpenApiDocument = ReturnType<typeof createDocument>;

/** Problems that any operation may answer with. */
const ALWAYS: readonly ProblemCode[] = ["FORBIDDEN", "INTERNAL", "OVERLOADED"];

export function createOpenApi(operations: readonly Operation[]): OpenApiDocument {
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {};
  for (const operation of operations) {
    const path = operation.path.replace("{+", "{");
    paths[path] = { ...paths[path], [operation.method]: describe(operation) };
  }
  const document = createDocument(
    {
      openapi: "3.1.1",
      info: {
        title: "Perdure",
        version: "1",
        description:
          "Durable agent sessions. Errors are RFC 9457 problem documents; a `retryable` one may do better later.",
        license: { name: "MIT", identifier: "MIT" },
      },
      servers: [{ url: "/" }],
      security: [{ token: [] }],
      paths: paths as ZodOpenApiPathsObject,
      components: {
        schemas: { SessionEvent },
        securitySchemes: {
          token: {
            type: "http",
            scheme: "bearer",
            description:
              "The text of the file `token` in the state folder of the API. Streams and the terminal take it as `?token=`, too. With `PERDURE_AUTH=off` nobody is asked.",
          },
        },
      },
    },
    {
      // What we answer may grow; a client that checks answers against this document must not break on a field it does not know.
      override: ({ jsonSchema, io }) => {
        if (io === "output" && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      },
    },
  );
  return JSON.parse(JSON.stringify(document), mended) as OpenApiDocument;
}

/**
 * Two things that the document's makers leave wrong: a schema that is another one with a new description is a reference,
 * beside which the word stays that closes it; and a path's part that our routes can do without is still required there.
 */
function mended(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("in" in value && value.in === "path") return { ...value, required: true };
  if (!("$ref" in value)) return value;
  const { additionalProperties: _closed, ...rest } = value as Record<string, unknown>;
  return rest;
}

function describe(operation: Operation): ZodOpenApiOperationObject {
  const { params, query, headers } = operation;
  const has = (object: { shape: object } | undefined): boolean =>
    object !== undefined && Object.keys(object.shape).length > 0;
  return {
    operationId: operation.id,
    summary: operation.summary,
    ...(operation.description !== undefined && { description: operation.description }),
    ...(operation.isPublic && { security: [] }),
    requestParams: {
      ...(has(params) && { path: params }),
      ...(has(query) && { query }),
      ...(headers && { header: headers }),
    },
    ...requestBody(operation),
    responses: { ...answersOf(operation), ...problemsOf(operation) },
  };
}

function requestBody(operation: Operation): Pick<ZodOpenApiOperationObject, "requestBody"> {
  if (operation.takesBytes) return { requestBody: { required: true, content: { "*/*": {} } } };
  if (!operation.body) return {};
  const required = !operation.body.safeParse(undefined).success;
  return { requestBody: { required, content: { "application/json": { schema: operation.body } } } };
}

function answersOf(operation: Operation): ZodOpenApiResponsesObject {
  return Object.fromEntries(
    Object.entries(operation.answers).map(([status, answer]: [string, Answer]) => {
      const types = [answer, ...(answer.or ?? [])].filter((one) => one.contentType !== undefined);
      const content = Object.fromEntries(
        types.map((one) => [one.contentType, one.schema ? { schema: one.schema } : {}]),
      );
      return [status, { description: answer.description, ...(types.length > 0 && { content }) }];
    }),
  );
}

function problemsOf(operation: Operation): ZodOpenApiResponsesObject {
  const ofToken: readonly ProblemCode[] = operation.isPublic ? [] : ["UNAUTHORIZED"];
  const codes = new Set<ProblemCode>([...ALWAYS, ...ofToken, ...operation.problems, ...problemsOfInput(operation)]);
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of codes) {
    const { status } = PROBLEMS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, ofStatus]) => [
      String(status),
      {
        description: ofStatus.map((code) => `${code}: ${PROBLEMS[code].title}.`).join(" "),
        content: { [PROBLEM_TYPE]: { schema: Problem } },
      },
    ]),
  );
}

function problemsOfInput(operation: Operation): readonly ProblemCode[] {
  const ofBody: readonly ProblemCode[] = operation.body
    ? ["PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE", "REQUEST_TIMEOUT"]
    : [];
  // Everything under /v1 reads the store.
  const ofStore: readonly ProblemCode[] = operation.path.startsWith("/v1/") ? ["STORAGE_ERROR", "UNAVAILABLE"] : [];
  return ["INVALID_INPUT", ...ofBody, ...ofStore];
}
