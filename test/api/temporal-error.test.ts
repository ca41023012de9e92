/** What Temporal's client throws becomes a kind that a client of ours can be told of. */
import { WorkflowFailedError, WorkflowUpdateFailedError } from "@temporalio/client";
import { ActivityFailure, ApplicationFailure, RetryState, TimeoutFailure, TimeoutType } from "@temporalio/common";
import { expect, test } from "vitest";
import { toSessionsError } from "../../api/temporal-error.ts";

const failed = (cause: Error): WorkflowFailedError => new WorkflowFailedError("it failed", cause, RetryState.TIMEOUT);
const ofActivity = (cause: Error): ActivityFailure =>
  new ActivityFailure("it failed", "serveWorkspace", "1", RetryState.NON_RETRYABLE_FAILURE, "worker", cause);

test.each([
  [
    "closed under a request",
    failed(ofActivity(ApplicationFailure.nonRetryable("it is stopped", "SandboxStopped"))),
    "missing",
  ],
  ["at fault", failed(ofActivity(ApplicationFailure.nonRetryable("a bug", "Error"))), "failed"],
  ["late", failed(new TimeoutFailure("late", undefined, TimeoutType.START_TO_CLOSE)), "unanswered"],
])("a workflow that failed because it was %s is told apart", (_why, thrown, kind) => {
  expect(toSessionsError(thrown)).toMatchObject({ kind });
});

test.each([
  ["Refused", "refused"],
  ["Stranger", "missing"],
  // The server says so when a worker has not looked at an update: nobody refused it, and it is to be sent again.
  ["UnprocessedUpdate", "unanswered"],
] as const)("an update that failed as %s is %s", (type, kind) => {
  const thrown = new WorkflowUpdateFailedError("it failed", ApplicationFailure.nonRetryable("no", type));

  expect(toSessionsError(thrown)).toMatchObject({ kind });
});
