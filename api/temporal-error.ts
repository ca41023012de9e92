/** What Temporal's client throws, as the gateway's own error. */
import {
  isGrpcServiceError,
  QueryNotRegisteredError,
  QueryRejectedError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from "@temporalio/client";
import { ApplicationFailure, TimeoutFailure } from "@temporalio/common";
import { SessionsError } from "./sessions.ts";

// Statuses of gRPC, by number: its package is not a dependency of ours.
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;

/** The failure of an update that was accepted by a run which ended before it was done. */
const RUN_ENDED = "AcceptedUpdateCompletedWorkflow";

export function toSessionsError(thrown: unknown): SessionsError {
  if (thrown instanceof SessionsError) return thrown;
  const cause = { cause: thrown };
  if (thrown instanceof WorkflowNotFoundError || thrown instanceof WorkflowExecutionAlreadyStartedError) {
    return new SessionsError("missing", "the session's workflow does not run", cause);
  }
  if (thrown instanceof WorkflowUpdateFailedError) return fromRefusal(thrown);
  if (thrown instanceof QueryRejectedError || thrown instanceof QueryNotRegisteredError) {
    return new SessionsError("unanswered", "no worker could answer the query", cause);
  }
  if (thrown instanceof WorkflowFailedError) {
    return thrown.cause instanceof TimeoutFailure
      ? new SessionsError("unanswered", "no worker did it in time", cause)
      : new SessionsError("failed", thrown.cause?.message ?? thrown.message, cause);
  }
  return fromGrpc(thrown);
}

function fromRefusal(thrown: WorkflowUpdateFailedError): SessionsError {
  const { cause } = thrown;
  if (cause instanceof ApplicationFailure && cause.type === RUN_ENDED) {
    return new SessionsError("missing", "the session's workflow ended", { cause: thrown });
  }
  return new SessionsError("refused", cause?.message ?? thrown.message, { cause: thrown });
}

function fromGrpc(thrown: unknown): SessionsError {
  const service = isGrpcServiceError(thrown) ? thrown : (thrown as { cause?: unknown } | undefined)?.cause;
  const options = { cause: thrown };
  if (!isGrpcServiceError(service)) return new SessionsError("failed", String(thrown), options);
  switch (service.code as number) {
    case UNAVAILABLE:
      return new SessionsError("unreachable", "Temporal cannot be reached", options);
    case DEADLINE_EXCEEDED:
    case CANCELLED:
      // The details name the server's address when there was one to wait for.
      return service.details.includes("remote_addr=")
        ? new SessionsError("unanswered", "no worker answered in time", options)
        : new SessionsError("unreachable", "Temporal cannot be reached", options);
    case NOT_FOUND:
      return new SessionsError("missing", "the session's workflow does not run", options);
    case FAILED_PRECONDITION:
    case RESOURCE_EXHAUSTED:
      return new SessionsError("unanswered", service.details, options);
    default:
      return new SessionsError("failed", service.details, options);
  }
}
