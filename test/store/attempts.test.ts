/** Attempts are registered with the work they begin, and those of dead processes are found, of this host only. */
import { afterEach, expect, test, vi } from "vitest";
import { type Attempt, beginAttempt, forgetAttempts, forgetEnded, orphanedAttempts } from "../../store/attempts.ts";
import { beginStep, endStep } from "../../store/steps.ts";
import { aMessage, anEnding, aSession, temporaryStore } from "./store-builder.ts";

afterEach(() => {
  vi.useRealTimers();
});

const attempt = (taskToken: string, process = "1:a", host = "h1"): Attempt => ({ taskToken, host, process });

test("an attempt is there from its step's begin until two seconds after its commit, which Temporal may not have heard of", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));
  const begun = await beginStep(database, { ...ids, step: 1 }, attempt("t1"));
  const orphans = async () => (await orphanedAttempts(database, "h1", () => false)).map((one) => one.taskToken);
  expect(await orphans()).toEqual(["t1"]);
  if (begun.state !== "begun") throw new Error("the step must begin");
  const stale = { ...begun, epoch: 99 };
  await expect(endStep(database, stale, anEnding([], { attempt: attempt("t1") }))).rejects.toThrow(/taken over/);

  await endStep(database, begun, anEnding([], { attempt: attempt("t1") }));
  await database.write((tx) => beginAttempt(tx, attempt("t2")));
  expect(await forgetEnded(database, "1:a")).toBe(1);
  expect(await orphans()).toEqual(["t1", "t2"]);

  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_000 });
  expect(await forgetEnded(database, "1:b")).toBe(0);
  expect(await orphans()).toEqual(["t1", "t2"]);
  expect(await forgetEnded(database, "1:a")).toBe(0);
  expect(await orphans()).toEqual(["t2"]);
});

test("only attempts of dead processes of the same host are orphans", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const all = [attempt("dead"), attempt("alive", "2:b"), attempt("elsewhere", "1:a", "h2")];
  for (const each of all) await database.write((tx) => beginAttempt(tx, each));
  await database.write((tx) => beginAttempt(tx, all[0]));
  await database.write((tx) => beginAttempt(tx, undefined));

  const orphans = await orphanedAttempts(database, "h1", (process) => process === "2:b");

  expect(orphans).toEqual([attempt("dead")]);
  await forgetAttempts(database, orphans);
  await forgetAttempts(database, orphans);
  expect(await orphanedAttempts(database, "h1", () => false)).toEqual([attempt("alive", "2:b")]);
});
