/** Every error code a client can meet, in a turn's failure or in a problem document, with its meaning for a retry. */
import { z } from "zod";

/**
 * Codes of a failed turn: the list of the agent-sdk contract, and `LIMIT_EXCEEDED` for an agent's own limits.
 * The value says whether the same message sent again may do better.
 */
export const TURN_CODES = {
  TIMEOUT: true,
  RATE_LIMIT: true,
  NETWORK: true,
  TOOL_EXECUTION: true,
  MODEL_OVERLOADED: true,
  PROVIDER_ERROR: true,
  AUTH_EXPIRED: false,
  AUTH_INVALID: false,
  AUTH_REQUIRED: false,
  MODEL_NOT_FOUND: false,
  CONTEXT_OVERFLOW: false,
  INVALID_INPUT: false,
  INVALID_RESPONSE: false,
  ABORTED: false,
  DEPENDENCY_MISSING: false,
  BACKEND_NOT_INSTALLED: false,
  PERMISSION_DENIED: false,
  PROVIDER_NOT_FOUND: false,
  STORAGE_ERROR: true,
  STORAGE_IO_ERROR: true,
  LIMIT_EXCEEDED: false,
} as const;
export const TurnCode = z.enum(Object.keys(TURN_CODES) as [keyof typeof TURN_CODES, ...(keyof typeof TURN_CODES)[]]);
export type TurnCode = z.infer<typeof TurnCode>;

/** Codes of problem documents (RFC 9457), with their HTTP status and title. */
export const PROBLEMS = {
  INVALID_INPUT: { status: 400, title: "The request is not valid", retryable: false },
  UNAUTHORIZED: { status: 401, title: "The token of this API is needed", retryable: false },
  FORBIDDEN: { status: 403, title: "This is not allowed", retryable: false },
  NOT_FOUND: { status: 404, title: "There is no such resource", retryable: false },
  AGENT_NOT_FOUND: { status: 404, title: "There is no such agent", retryable: false },
  SESSION_NOT_FOUND: { status: 404, title: "There is no such session", retryable: false },
  METHOD_NOT_ALLOWED: { status: 405, title: "This method is not supported here", retryable: false },
  NOT_ACCEPTABLE: { status: 406, title: "None of the accepted media types can be served", retryable: false },
  REQUEST_TIMEOUT: { status: 408, title: "The body did not come in time", retryable: true },
  CONFLICT: { status: 409, title: "This conflicts with what is there", retryable: false },
  ALREADY_DECIDED: { status: 409, title: "It is decided already, and the first decision stands", retryable: false },
  SESSION_CLOSED: { status: 409, title: "The session is closed", retryable: false },
  PRECONDITION_FAILED: { status: 412, title: "The condition of the request does not hold", retryable: false },
  PAYLOAD_TOO_LARGE: { status: 413, title: "It is too large", retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: "The request body must be JSON", retryable: false },
  RANGE_NOT_SATISFIABLE: { status: 416, title: "The range is outside of what there is", retryable: false },
  ARCHIVE_REFUSED: { status: 422, title: "The archive cannot be opened here", retryable: false },
  UPGRADE_REQUIRED: { status: 426, title: "This is a WebSocket", retryable: false },
  QUEUE_FULL: { status: 429, title: "Too many messages are waiting", retryable: true },
  TOO_MANY_COMMANDS: { status: 429, title: "Too many commands run or wait", retryable: true },
  TOO_MANY_TERMINALS: { status: 429, title: "Too many terminals are open", retryable: true },
  TOO_MANY_STREAMS: { status: 503, title: "Too many open streams", retryable: true },
  DOWNLOAD_FAILED: { status: 502, title: "What was to be downloaded did not come", retryable: true },
  OVERLOADED: { status: 503, title: "Too much is under way at once", retryable: true },
  INSUFFICIENT_STORAGE: { status: 507, title: "The disk has no room for it", retryable: true },
  INTERNAL: { status: 500, title: "Internal error", retryable: true },
  STORAGE_ERROR: { status: 503, title: "The store cannot be used right now", retryable: true },
  UNAVAILABLE: { status: 503, title: "Temporal or a worker cannot be reached right now", retryable: true },
} as const;
export const ProblemCode = z.enum(Object.keys(PROBLEMS) as [keyof typeof PROBLEMS, ...(keyof typeof PROBLEMS)[]]);
export type ProblemCode = z.infer<typeof ProblemCode>;

/** The body of every error answer, `application/problem+json`. */
export const Problem = z
  .strictObject({
    type: z.string().meta({ description: "A URI reference that names the kind of problem." }),
    title: z.string(),
    status: z.number().int(),
    detail: z.string().meta({ description: "What was expected, what came, what to do." }),
    code: ProblemCode,
    retryable: z.boolean(),
    errors: z
      .array(
        z.strictObject({
          path: z.string().meta({
            description:
              "JSON pointer into the request's body; of what is not in the body, it begins with /query, /path or /headers.",
          }),
          message: z.string(),
        }),
      )
      .optional(),
    first: z
      .unknown()
      .optional()
      .meta({ description: "Of ALREADY_DECIDED: the decision, answer or result that stands." }),
  })
  .meta({ id: "Problem" });
export type Problem = z.infer<typeof Problem>;

/** A refusal that an edge answers with as a problem document. Thrown by api/ and by the store's checks. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly code: ProblemCode;
  readonly errors: readonly { readonly path: string; readonly message: string }[] | undefined;
  readonly first: unknown;

  constructor(
    code: ProblemCode,
    detail: string,
    options?: ErrorOptions & { errors?: ProblemError["errors"]; first?: unknown },
  ) {
    super(detail, options);
    this.code = code;
    this.errors = options?.errors;
    this.first = options?.first;
  }
}
