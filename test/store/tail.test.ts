/** A live log gives every reader exactly the log, whenever it comes, however slow it is, and whoever writes. */
import { expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Database } from "../../store/database.ts";
import { append } from "../../store/event-log.ts";
import { EventTail, type LiveLog } from "../../store/tail.ts";
import { startProgram } from "./fixtures/child-program.ts";
import { aSession, logOf, temporaryStore } from "./store-builder.ts";

async function aTail() {
  const store = await temporaryStore();
  const errors: unknown[] = [];
  const tail = new EventTail(store.database, (error) => errors.push(error));
  return {
    ...store,
    tail,
    errors,
    [Symbol.asyncDispose]: async () => {
      await tail[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    },
  };
}

const say = (database: Database, sessionId: SessionId, number: number) =>
  database.write((tx) =>
    append(
      tx,
      sessionId,
      Array.from({ length: number }, (_, i) => ({ type: "message.refused", messageId: "m", message: String(i) })),
    ),
  );
const soon = (): AbortSignal => AbortSignal.timeout(40_000);

/** Reads as a stream does, until `last` has come or the deadline has. Checks that seqs follow each other. */
async function readTo(log: LiveLog, from: number, last: number): Promise<number> {
  const signal = soon();
  let seq = from;
  for (let idle = 0; seq < last && !signal.aborted; ) {
    const page = await log.after(seq);
    idle = page.length === 0 ? idle + 1 : 0;
    if (idle > 1_000) throw new Error(`woken again and again for nothing after seq ${seq}`);
    for (const event of page) {
      if (event.seq !== seq + 1) throw new Error(`expected seq ${seq + 1}, got ${event.seq}`);
      seq = event.seq;
    }
    if (page.length === 0) await log.changed(seq, signal);
  }
  return seq;
}

test("readers from any seq get exactly the log while another process writes 5,000 events", {
  timeout: 30_000,
}, async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  await say(world.database, sessionId, 49);
  const last = 50 + 5_000;
  await using writer = startProgram("appender.ts", world.file, sessionId, "1000", "5");
  const logs = [0, 1, 25, 50, 0, 50].map((from) => ({ from, log: world.tail.open(sessionId) }));

  const reading = logs.map(({ from, log }) => readTo(log, from, last));
  await writer.line();
  using late = world.tail.open(sessionId); // One that comes in the middle.
  const ends = await Promise.all([...reading, readTo(late, 0, last)]);

  expect(ends).toEqual(Array(7).fill(last));
  expect(await writer.ended).toBe(0);
  expect(world.errors).toEqual([]);
  for (const { log } of logs) log[Symbol.dispose]();
});

test("300 readers of one session all see each event, without a query each", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  const logs = Array.from({ length: 300 }, () => world.tail.open(sessionId));
  await Promise.all(logs.map((log) => log.changed(0, soon())));

  const reading = logs.map((log) => readTo(log, 1, 41));
  for (let i = 0; i < 40; i++) await say(world.database, sessionId, 1);

  expect(new Set(await Promise.all(reading))).toEqual(new Set([41]));
  const [a, b] = await Promise.all(logs.slice(0, 2).map((log) => log.after(40)));
  expect(a?.[0]).toBe(b?.[0]); // The same text for all of them, made once.
});

test("what a reader is given is the event as the log has it", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database, { title: 'ünï "quoted" \u2028' });
  using log = world.tail.open(sessionId);
  await log.changed(0, soon());
  await say(world.database, sessionId, 2);
  await log.changed(2, soon());

  const given = [...(await log.after(0))].map((event) => JSON.parse(event.json));

  expect(given).toEqual(await logOf(world.database, sessionId));
});

test("a reader may come before its session exists", async () => {
  await using world = await aTail();
  using log = world.tail.open("later");
  expect(await log.after(0)).toEqual([]);

  const changed = log.changed(0, soon());
  await aSession(world.database, { id: "later" });
  await changed;

  expect((await log.after(0)).map((event) => event.seq)).toEqual([1]);
});

test("a reader that has everything waits, also when it is ahead of what the tail has seen", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  using log = world.tail.open(sessionId);
  await say(world.database, sessionId, 3);
  expect((await log.after(0)).at(-1)?.seq).toBe(4);

  const abort = new AbortController();
  const waited = log.changed(4, abort.signal).then(() => "woken");
  await log.changed(0, soon());
  expect(await Promise.race([waited, Promise.resolve("waits")])).toBe("waits");
  expect(await log.after(4)).toEqual([]);
  expect(await log.after(1_000)).toEqual([]);

  await say(world.database, sessionId, 1);
  expect(await waited).toBe("woken");
});

test("a poke shows a commit of this process without waiting for the next look", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  using log = world.tail.open(sessionId);
  await log.changed(0, soon());

  for (let seq = 1; seq <= 50; seq++) {
    const changed = log.changed(seq, soon());
    await say(world.database, sessionId, 1);
    const before = performance.now();
    world.tail.poke();
    await changed;
    if (performance.now() - before < LIMITS.tailEveryMs) return; // Seen sooner than by a tick, once at least.
  }
  expect.unreachable("50 pokes were all as slow as a tick");
});

test("pokes that come while a look is under way are not lost", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  using log = world.tail.open(sessionId);
  const reading = readTo(log, 0, 201);

  for (let i = 0; i < 200; i++) {
    world.tail.poke();
    await say(world.database, sessionId, 1);
    world.tail.poke();
  }

  expect(await reading).toBe(201);
});

test("a reader that has fallen far behind pages from the database and misses nothing", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  using quick = world.tail.open(sessionId);
  using slow = world.tail.open(sessionId);
  await quick.changed(0, soon());
  for (let i = 0; i < 9; i++) await say(world.database, sessionId, 500);
  await readTo(quick, 0, 4_501);

  const page = await slow.after(10);

  expect(page.length).toBeGreaterThan(0);
  expect(page.length).toBeLessThanOrEqual(LIMITS.eventsPerPage.max);
  expect(page[0]?.seq).toBe(11);
  expect(await readTo(slow, 10, 4_501)).toBe(4_501);
});

test("a reader whose signal aborts is let go at once, and one that is aborted already does not wait", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  using log = world.tail.open(sessionId);
  const abort = new AbortController();

  const waiting = log.changed(99, abort.signal);
  abort.abort();

  await waiting;
  await log.changed(99, abort.signal);
});

test("readers that leave free their session: nothing looks any more, and leaving twice hurts nobody", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  let looks = 0;
  const counted = { ...world.database, dataVersion: () => ++looks };
  await using tail = new EventTail(counted, (error) => world.errors.push(error));
  const [first, second] = [tail.open(sessionId), tail.open(sessionId)];
  await first.changed(0, soon());

  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await say(world.database, sessionId, 1);
  await second.changed(1, soon()); // Its other reader is still served.
  second[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, LIMITS.tailEveryMs * 3)); // Time in which it could look, if it did.
  const before = looks;
  await new Promise((resolve) => setTimeout(resolve, LIMITS.tailEveryMs * 6));

  expect(looks).toBe(before);
});

test("a database that fails for a while is told of, and readers go on when it works again", async () => {
  await using world = await aTail();
  const sessionId = await aSession(world.database);
  let isBroken = true;
  const flaky: Database = {
    ...world.database,
    dataVersion: () => {
      if (isBroken) throw new Error("no disk");
      return world.database.dataVersion();
    },
  };
  const errors: unknown[] = [];
  await using tail = new EventTail(flaky, (error) => {
    errors.push(error);
    isBroken = errors.length < 3;
  });
  using log = tail.open(sessionId);

  await log.changed(0, soon());

  expect(errors).toHaveLength(3);
  expect(await readTo(log, 0, 1)).toBe(1);
});

test("a tail that is disposed of in the middle of a look leaves the database alone", async () => {
  const world = await aTail();
  const sessionId = await aSession(world.database);
  world.tail.open(sessionId);
  await say(world.database, sessionId, 100);
  world.tail.poke();
  world.tail.poke();

  await world[Symbol.asyncDispose]();
  await new Promise((resolve) => setTimeout(resolve, LIMITS.tailEveryMs * 4));

  expect(world.errors).toEqual([]);
});
