/** Rounds over what is still to be done: whoever cannot be served stands before nobody else. */
import { expect, test } from "vitest";
import { Rounds, type RoundsOptions, type Tried } from "../../api/rounds.ts";
import { LIMITS } from "../../contract/limits.ts";
import { markSubmitted } from "../../store/messages.ts";
import { ApiWorld, until } from "../support/api-world.ts";

function roundsOver(
  items: () => readonly string[],
  work: (item: string) => Promise<Tried>,
  options: Partial<RoundsOptions<string>> = {},
): Rounds<string> {
  return new Rounds({
    after: async (name, limit) =>
      [...items()]
        .sort()
        .filter((item) => item > name)
        .slice(0, limit),
    nameOf: (item) => item,
    work,
    onError: () => undefined,
    ...options,
  });
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${prefix}${String(n).padStart(4, "0")}`);

test("everybody comes to their turn in one round, however many stand before them and fail", async () => {
  const stuck = numbered("a", 300);
  const done: string[] = [];
  const left = new Set([...stuck, "z1", "z2"]);
  await using rounds = roundsOver(
    () => [...left],
    async (item) => {
      if (item.startsWith("a")) return "failed";
      done.push(item);
      left.delete(item);
      return "done";
    },
  );

  await rounds.look();
  await rounds.settled();

  expect(done).toEqual(["z1", "z2"]);
});

test("what hangs after it has failed before keeps no place from who comes new", async () => {
  const hanging = numbered("a", 200);
  const items = [...hanging];
  const done: string[] = [];
  const never = Promise.withResolvers<Tried>();
  let isFirst = true;
  const rounds = roundsOver(
    () => items,
    (item) => {
      if (!item.startsWith("a")) done.push(item);
      return item.startsWith("a") && !isFirst
        ? never.promise
        : Promise.resolve(item.startsWith("a") ? "failed" : "done");
    },
    { pauseMs: { first: 1, max: 1 } },
  );
  await rounds.look();
  await rounds.settled();
  isFirst = false;
  const failedAt = Date.now();
  await until(() => Date.now() > failedAt + 1);

  await rounds.look();
  items.push("b");
  await rounds.look();

  await until(() => done.includes("b"));
  never.resolve("done");
  await rounds[Symbol.asyncDispose]();
});

test("what fails is tried again after pauses that grow, and what is done again not before its time", async () => {
  let tries = 0;
  await using rounds = roundsOver(
    () => ["a"],
    async () => {
      tries++;
      return "failed";
    },
    { pauseMs: { first: 30, max: 60_000 } },
  );
  for (const deadline = Date.now() + 400; Date.now() < deadline; ) {
    await rounds.look();
    await rounds.settled();
  }
  expect(tries).toBeGreaterThan(1);
  expect(tries).toBeLessThan(6); // 30, 60, 120, 240 ms apart.
});

test("no more than the bound are worked on at once, and nothing is worked on twice at once", async () => {
  const items = numbered("a", 100);
  const running = new Set<string>();
  let most = 0;
  await using rounds = roundsOver(
    () => items,
    async (item) => {
      expect(running.has(item)).toBe(false);
      running.add(item);
      most = Math.max(most, running.size);
      await new Promise(setImmediate);
      running.delete(item);
      return "done";
    },
  );

  await rounds.look();
  await rounds.look();
  await rounds.settled();

  expect(most).toBeLessThanOrEqual(LIMITS.reconcileSessionsAtOnce + LIMITS.roundRetriesAtOnce);
});

test("while nobody can be reached a beat ends at once, and nothing is held against those it tried", async () => {
  const items = numbered("a", 500);
  let isAway = true;
  let tries = 0;
  const done = new Set<string>();
  await using rounds = roundsOver(
    () => items,
    async (item) => {
      tries++;
      if (isAway) return "away";
      done.add(item);
      return "done";
    },
  );
  await rounds.look();
  await rounds.settled();
  expect(tries).toBeLessThanOrEqual(LIMITS.reconcileSessionsAtOnce);

  isAway = false;
  await rounds.look();
  await rounds.look();
  await rounds.settled();

  expect(done.size).toBe(500);
});

test("forty sessions whose workflow answers nothing keep no message of another from being delivered", async () => {
  await using world = await ApiWorld.start();
  const { database } = world.store;
  const post = async (id: string) => {
    await world.call("POST /v1/sessions", { json: { id } });
    await world.call(`POST /v1/sessions/${id}/messages`, { json: { content: "hello", id: `m-${id}` } });
  };
  world.sessions.fail("unanswered", "submit");
  const stuck = numbered("a", 40);
  for (const id of [...stuck, "zz"]) await post(id);
  for (const id of stuck) world.sessions.failFor("unanswered", `m-${id}`);
  await database.write((tx) => tx.updateTable("messages").set({ received_at: 1 }).execute());

  world.sessions.recover();
  for (const id of stuck) world.sessions.failFor("unanswered", `m-${id}`);

  await until(() => world.sessions.submitted.some(({ message }) => message.messageId === "m-zz"), 10_000);
  await markSubmitted(database, "zz" as never, "m-zz" as never);
});
