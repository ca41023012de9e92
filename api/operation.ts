/**
 * One operation of the API: its route, its schemas, its answers and its code in one value. The router, the 405s and the
 * OpenAPI document are all made from the list of these, so none of them can say what another does not.
 */
import type { Request, Response } from "express";
import { z } from "zod";
import type { ProblemCode } from "../contract/errors.ts";
import { type Place, parseFrom } from "./input.ts";

export type Method = "get" | "post" | "put" | "patch" | "delete";

/** What a status is answered with, for the document. Without a schema: bytes or text, or (no content type) nothing at all. */
export interface Answer {
  readonly description: string;
  readonly contentType?: string;
  readonly schema?: z.ZodType;
  /** More types that the same status may have, for the same operation. */
  readonly or?: readonly Answer[];
}

/** What a handler has: its parsed input, and the request for those that stream. */
export interface Call<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly request: Request;
  readonly response: Response;
}

/** A JSON answer. A handler that gives none has answered by itself. */
export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  /** The body as JSON text already. */
  readonly json?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Described {
  readonly method: Method;
  /** As OpenAPI writes it. A last `{+name}` takes the rest of the path, slashes included. */
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly answers: Readonly<Record<number, Answer>>;
  /** Problems of this operation besides those that any may have. */
  readonly problems: readonly ProblemCode[];
  /** Headers that it reads, for the document. */
  readonly headers?: z.ZodObject;
  /** Nobody is asked for the token: it tells nothing of any session. */
  readonly isPublic?: boolean;
}

interface Spec<Params extends z.ZodObject, Query extends z.ZodObject, Body extends z.ZodType> extends Described {
  readonly params?: Params;
  readonly query?: Query;
  /** JSON. Left out: the operation has no body. */
  readonly body?: Body;
  /** It takes bytes of any kind instead of JSON. */
  readonly takesBytes?: boolean;
  handle(call: Call<z.output<Params>, z.output<Query>, z.output<Body>>): Promise<Reply | undefined>;
}

export interface Operation extends Described {
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodType | undefined;
  readonly takesBytes: boolean;
  handle(request: Request, response: Response): Promise<Reply | undefined>;
}

const NONE = z.strictObject({});

/** Makes an operation that parses its input by its own schemas before its handler sees it. */
export function operation<
  Params extends z.ZodObject = typeof NONE,
  Query extends z.ZodObject = typeof NONE,
  Body extends z.ZodType = z.ZodUndefined,
>(spec: Spec<Params, Query, Body>): Operation {
  const params = spec.params ?? NONE;
  const query = spec.query ?? NONE;
  return {
    ...spec,
    params,
    query,
    body: spec.body,
    takesBytes: spec.takesBytes ?? false,
    handle: async (request, response) => {
      const parse = <T extends z.ZodType>(schema: T, value: unknown, place: Place): z.output<T> =>
        parseFrom(schema, value, place);
      return await spec.handle({
        params: parse(params, request.params, "path") as z.output<Params>,
        query: parse(query, grouped(query, request.query), "query") as z.output<Query>,
        body: (spec.body && parse(spec.body, request.body, "body")) as z.output<Body>,
        request,
        response,
      });
    },
  };
}

/** `?metadata.team=a&metadata.tier=b` as `{metadata: {team: a, tier: b}}`, where the query has a record of that name. */
function grouped(schema: z.ZodObject, query: Request["query"]): Record<string, unknown> {
  if (!("metadata" in schema.shape)) return { ...query };
  const entries = Object.entries(query);
  // The bare name stays as it is, and is refused: it is no record.
  if ("metadata" in query) return { ...query };
  const isPair = ([name]: readonly [string, unknown]): boolean => name.startsWith("metadata.");
  const pairs = entries.filter(isPair).map(([name, value]) => [name.slice("metadata.".length), value]);
  const plain = Object.fromEntries(entries.filter((entry) => !isPair(entry)));
  return pairs.length > 0 ? { ...plain, metadata: Object.fromEntries(pairs) } : plain;
}
