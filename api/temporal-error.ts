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
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from "@temporalio/common";
import { SessionsError } from "./sessions.ts";

// Statuses of gRPC, by number: its package is not a dependency of ours.
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;

/** The failures of an activity that has nothing to work on any more: it was overtaken, or the sandbox is stopped for good. */
const OVER: readonly (string | null | undefined)[] = ["Superseded", "SandboxStopped"];
/** The failure of an update that was accepted by a run which ended before it was done. */
const RUN_ENDED = "AcceptedUpdateCompletedWorkflow";
/** The workflow of that id carries another session. */
const STRANGER = "Stranger";
/** What a workflow of ours says of what it does not take. */
const REFUSED = "Refused";

export function toSessionsError(thrown: unknown): SessionsError {
  if (thrown instanceof SessionsError) return thrown;
  const cause = { cause: thrown };
  if (thrown instanceof WorkflowNotFoundError || thrown instanceof WorkflowExecutionAlreadyStartedError) {
    return new SessionsError("missing", "the session's workflow does not run", cause);
  }
  if (thrown instanceof WorkflowUpdateFailedError) return fromRefusal(thrown);
  if (thrown instanceof QueryRejectedError)
    return new SessionsError("missing", "the session's workflow has ended", cause);
  if (thrown instanceof QueryNotRegisteredError) {
    return new SessionsError("unanswered", "no worker could answer the query", cause);
  }
  if (thrown instanceof WorkflowFailedError) return fromFailure(thrown);
  return fromGrpc(thrown);
}

function fromFailure(thrown: WorkflowFailedError): SessionsError {
  const options = { cause: thrown };
  const { cause } = thrown;
  if (cause instanceof TimeoutFailure) return new SessionsError("unanswered", "no worker did it in time", options);
  const end = cause instanceof ActivityFailure ? cause.cause : cause;
  // Whoever was at its sandbox when the session was closed is told that it is, and not of a fault of ours.
  if (end instanceof ApplicationFailure && OVER.includes(end.type)) {
    return new SessionsError("missing", end.message, options);
  }
  return new SessionsError("failed", cause?.message ?? thrown.message, options);
}

function fromRefusal(thrown: WorkflowUpdateFailedError): SessionsError {
  const { cause } = thrown;
  if (cause instanceof ApplicationFailure && cause.type === STRANGER) {
    return new SessionsError("missing", cause.message, { cause: thrown });
  }
  if (cause instanceof ApplicationFailure && cause.type === RUN_ENDED) {
    return new SessionsError("missing", "the session's workflow ended", { cause: thrown });
  }
  if (cause instanceof ApplicationFailure && cause.type === REFUSED) {
    return new SessionsError("refused", cause.message, { cause: thrown });
  }
  // The server gives an update up that a worker did not look at, such as one whose cache was lost: nobody has refused it.
  return new SessionsError("unanswered", cause?.message ?? thrown.message, { cause: thrown });
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
