/** What becomes of work whose attempt Temporal has lost: a silence is no stop, the next attempt goes on with it, a late one takes nothing. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { ActivityCancellationDetails } from "@temporalio/common";
import type { MockActivityEnvironment } from "@temporalio/testing";
import { describe, expect, test } from "vitest";
import { createRunCallerCommand } from "../../activities/caller-command.ts";
import { EndedAttempts } from "../../activities/ended-attempts.ts";
import { WorksHere } from "../../activities/works-here.ts";
import { type Command, PostCommand } from "../../contract/commands.ts";
import type { CallId } from "../../contract/ids.ts";
import { type Attempt, beginAttempt } from "../../store/attempts.ts";
import { getCommand, makeCommand } from "../../store/commands.ts";
import { until } from "../support/api-world.ts";
import { type ActivityWorld, anActivityWorld, anAttempt, attemptNumber } from "./activity-builder.ts";

interface Made extends ActivityWorld {
  readonly callId: CallId;
  /** Whether the command has begun, and may end. */
  readonly begun: () => boolean;
  readonly effects: () => string;
}

/** A command that tells when it begins and when it ends, and takes a second. */
async function aCommand(): Promise<Made> {
  const world = await anActivityWorld({});
  const file = path.join(world.store.folder, "effects");
  const callId: CallId = "call_command";
  const request = PostCommand.parse({ command: `echo begun >> ${file}; sleep 1; echo ended >> ${file}` });
  await makeCommand(world.database, { sessionId: world.sessionId, callId }, request);
  return { ...world, callId, begun: () => existsSync(file), effects: () => readFileSync(file, "utf8") };
}

const run = ({ deps, sessionId, callId }: Made, attempt: MockActivityEnvironment): Promise<void> =>
  attempt.run(createRunCallerCommand(deps), { sessionId, callId });
const rowOf = ({ database, sessionId, callId }: Made): Promise<Command> => getCommand(database, { sessionId, callId });
const epochOf = async ({ database }: Made): Promise<number | undefined> =>
  (await database.read.selectFrom("commands").select("epoch").executeTakeFirst())?.epoch;
const openAttempts = async ({ database }: Made): Promise<number> =>
  (await database.read.selectFrom("attempts").selectAll().where("ended_at", "is", null).execute()).length;
const allAttempts = async ({ database }: Made): Promise<number> =>
  (await database.read.selectFrom("attempts").selectAll().execute()).length;
/** The same host's other worker: it shares the rows and the sandboxes, and none of what runs here. */
const elsewhere = (made: Made): Made => ({ ...made, deps: { ...made.deps, works: new WorksHere() } });

describe.for([
  ["that Temporal took for lost", { notFound: true }],
  ["that was silent for too long", { timedOut: true }],
  ["that an operator has paused", { paused: true }],
  ["that an operator has reset", { reset: true }],
  ["that says nothing of why it is over", {}],
] as const)("an attempt %s", ([, details]) => {
  test("leaves its command alone, and the next one in this process tells its end, once", async () => {
    await using made = await aCommand();
    const first = attemptNumber(1);
    const lapsed = run(made, first);
    lapsed.catch(() => undefined);
    await until(made.begun);

    first.cancel("CANCELLED", new ActivityCancellationDetails(details));
    await expect(lapsed).rejects.toMatchObject({ type: "TakenOver", nonRetryable: false });
    await run(made, attemptNumber(2));

    expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "ok", exitCode: 0 });
    expect(made.effects()).toBe("begun\nended\n");
    expect(await epochOf(made)).toBe(1); // The work went on; nothing was begun again.
    expect(await openAttempts(made)).toBe(0);
  });

  test("leaves its command to one in another process, and writes nothing more", async () => {
    await using made = await aCommand();
    const first = attemptNumber(1);
    const lapsed = run(made, first);
    lapsed.catch(() => undefined);
    await until(made.begun);

    first.cancel("CANCELLED", new ActivityCancellationDetails(details));
    await run(elsewhere(made), attemptNumber(2));

    expect(await rowOf(made)).toMatchObject({ state: "done", outcome: "ok" });
    expect(made.effects()).toBe("begun\nended\n");
    await until(async () => (await openAttempts(made)) === 0);
  });
});

test("a next attempt that comes before this one has heard of its end takes the work all the same", async () => {
  await using made = await aCommand();
  const lapsed = run(made, attemptNumber(1));
  lapsed.catch(() => undefined);
  await until(made.begun);

  const second = run(made, attemptNumber(2));
  await expect(lapsed).rejects.toMatchObject({ type: "TakenOver" });
  await second;

  expect(await rowOf(made)).toMatchObject({ outcome: "ok" });
  expect(await epochOf(made)).toBe(1);
  expect(await openAttempts(made)).toBe(0);
});

test("a stop reaches work that went on without an attempt, by the next one", async () => {
  await using made = await aCommand();
  const first = attemptNumber(1);
  const lapsed = run(made, first);
  lapsed.catch(() => undefined);
  await until(made.begun);
  first.cancel("CANCELLED", new ActivityCancellationDetails({ notFound: true }));
  await lapsed.catch(() => undefined);

  const second = attemptNumber(2);
  const stopped = run(made, second);
  second.cancel("CANCELLED", new ActivityCancellationDetails({ cancelRequested: true }));
  await stopped;

  expect(await rowOf(made)).toMatchObject({ outcome: "interrupted" });
  expect(made.effects()).toBe("begun\n");
});

describe("a late attempt", () => {
  test("takes nothing from the newer one, neither in its process nor in another", async () => {
    await using made = await aCommand();
    const newer = run(made, attemptNumber(2));
    await until(made.begun);

    for (const at of [made, elsewhere(made)]) {
      await expect(run(at, attemptNumber(1))).rejects.toMatchObject({ type: "TakenOver", nonRetryable: false });
    }
    await newer;

    expect(await rowOf(made)).toMatchObject({ outcome: "ok" });
    expect(await epochOf(made)).toBe(1);
  });

  test("of an activity that was scheduled before takes nothing either, and one scheduled after takes over", async () => {
    await using made = await aCommand();
    const at = Date.now();
    const scheduled = (activityId: string, ms: number): MockActivityEnvironment =>
      anAttempt({ activityId, currentAttemptScheduledTimestampMs: at + ms });
    const first = run(made, scheduled("5", 0));
    first.catch(() => undefined);
    await until(made.begun);

    await expect(run(made, scheduled("4", -5_000))).rejects.toMatchObject({ type: "TakenOver" });
    await run(made, scheduled("6", 5_000));

    expect(await epochOf(made)).toBe(2);
    await expect(first).rejects.toMatchObject({ type: "TakenOver" });
    expect(made.effects()).toBe("begun\nended\n");
    expect(await openAttempts(made)).toBe(0);
  });

  test("is believed when its place only looks late because a clock was set back by an hour", async () => {
    await using made = await aCommand();
    const ahead = anAttempt({ activityId: "4", currentAttemptScheduledTimestampMs: Date.now() + 3_600_000 });
    const first = run(made, ahead);
    first.catch(() => undefined);
    await until(made.begun);

    await run(made, anAttempt({ activityId: "5", currentAttemptScheduledTimestampMs: Date.now() }));

    expect(await rowOf(made)).toMatchObject({ outcome: "ok" });
  });
});

describe.for(["well", "stopped", "superseded"] as const)("an attempt that ended: %s", (how) => {
  test("leaves no row behind, although its worker begins nothing more", async () => {
    await using made = await aCommand();
    const attempt = attemptNumber(1);
    const running = run(made, attempt);
    running.catch(() => undefined);
    await until(made.begun);
    if (how === "stopped") attempt.cancel("CANCELLED", new ActivityCancellationDetails({ cancelRequested: true }));
    if (how === "superseded") {
      attempt.cancel("CANCELLED", new ActivityCancellationDetails({ timedOut: true }));
      await run(elsewhere(made), attemptNumber(2));
    }
    await running.catch(() => undefined);

    await until(async () => (await allAttempts(made)) === 0);
  });
});

test("an end that could not be written is written when the store takes it again", async () => {
  await using made = await aCommand();
  const { database } = made;
  const attempt: Attempt = { taskToken: "owed", host: "h", process: "p" };
  await database.write((tx) => beginAttempt(tx, attempt));
  const ended = new EndedAttempts(10);

  ended.owe(attempt);
  ended.forgetLater(database, attempt.process);

  await until(async () => (await allAttempts(made)) === 0);
});
