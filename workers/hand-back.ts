/**
 * Hands the attempts of a dead worker of this host back to Temporal, which then retries them at once.
 *
 * Without it they would wait for their heartbeat timeout, and nothing more: so it never fails, and takes no longer than
 * `LIMITS.handBackMs`. Whatever the server says of an attempt (it is over, it was never known here, its database is another
 * one) is the last word on it; only one that got no answer is kept for the next worker to try.
 */
import type { Client } from "@temporalio/client";
import { ApplicationFailure, defaultFailureConverter, defaultPayloadConverter } from "@temporalio/common";
import { LIMITS } from "../contract/limits.ts";
import { type Attempt, forgetAttempts, forgetOldAttempts, orphanedAttempts } from "../store/attempts.ts";
import type { Store } from "../store/store.ts";

export interface HandBackDeps {
  readonly store: Store;
  readonly client: Client;
  readonly host: string;
  readonly isAlive: (process: string) => boolean;
  warn(fields: object, message: string): void;
}

type Answer = "handed" | "refused" | "none";

/** gRPC's CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, UNAVAILABLE: they say nothing of the attempt. */
const NO_ANSWER: ReadonlySet<unknown> = new Set([1, 4, 8, 10, 14]);
const AT_ONCE = 16;

/** Returns how many were handed back. Never rejects. */
export async function handBackAttempts(deps: HandBackDeps): Promise<number> {
  try {
    return await handBack(deps);
  } catch (error) {
    deps.warn({ err: error }, "what dead workers left was not handed back; Temporal retries it after its timeout");
    return 0;
  }
}

async function handBack({ store, client, host, isAlive, warn }: HandBackDeps): Promise<number> {
  const { database } = store;
  const deadline = Date.now() + LIMITS.handBackMs;
  const left = [...(await orphanedAttempts(database, host, isAlive))];
  const certain: Attempt[] = [];
  const answers: Answer[] = [];
  const lane = async (): Promise<void> => {
    for (let attempt = left.shift(); attempt && Date.now() < deadline; attempt = left.shift()) {
      const answer = await client.withDeadline(deadline, () => failOne(client, attempt));
      answers.push(answer);
      if (answer !== "none") certain.push(attempt);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  if (certain.length > 0) await forgetAttempts(database, certain);
  await forgetOldAttempts(database, Date.now() - LIMITS.activityTimeoutMs);
  const unanswered = answers.filter((answer) => answer === "none").length;
  if (unanswered > 0)
    warn({ unanswered }, "Temporal gave no answer for attempts of dead workers; it retries them later");
  return answers.filter((answer) => answer === "handed").length;
}

/** By the service itself: the client's own `activity.fail` keeps back what kind of an answer it was. */
async function failOne(client: Client, { taskToken }: Attempt): Promise<Answer> {
  const lost = ApplicationFailure.create({ type: "WorkerLost", message: "its worker died", nextRetryDelay: 1 });
  const failure = defaultFailureConverter.errorToFailure(lost, defaultPayloadConverter);
  const { namespace, identity } = client.options;
  try {
    const token = Buffer.from(taskToken, "base64");
    await client.workflowService.respondActivityTaskFailed({ namespace, identity, taskToken: token, failure });
    return "handed";
  } catch (error) {
    const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
    return code === undefined || NO_ANSWER.has(code) ? "none" : "refused";
  }
}
