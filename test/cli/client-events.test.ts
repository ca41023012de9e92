/** The client's event stream: each event once and in order, whatever happens to the connection; and an end in words. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Client } from "../../cli/client.ts";
import type { EventsOptions, ReceivedEvent } from "../../cli/event-stream.ts";
import { type FakeApi, startFakeApi } from "../support/fake-api.ts";

let api: FakeApi;
beforeEach(async () => {
  api = await startFakeApi();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const CLOSED = { type: "session.closed" };
const fact = (name: string) => ({ type: "session.created", agent: name });

test("a stream that is cut again and again, in the middle of events too, loses nothing and repeats nothing", async () => {
  api.add(...Array.from({ length: 9 }, (_, i) => fact(String(i))), CLOSED);
  api.streamFaults.push({ cutAfter: 3 }, { cutAfter: 0 }, { endAfter: 2 }, { cutAfter: 1 });

  const events = await all();

  expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(api.streams.map(({ lastEventId }) => lastEventId)).toEqual([undefined, "3", "3", "5", "6"]);
});

test("it goes on from the seq that it is given", async () => {
  api.add(fact("a"), fact("b"), CLOSED);

  expect((await all({ after: 2 })).map(({ seq }) => seq)).toEqual([3]);
});

test("a stream that says nothing for too long is opened again", async () => {
  api.add(fact("a"), CLOSED);
  api.streamFaults.push({ silent: true });

  const lost: string[] = [];
  const events = await all({
    silenceMs: 60,
    onConnection: (connection) => connection.state === "lost" && lost.push(connection.reason),
  });

  expect(events).toHaveLength(2);
  expect(lost).toEqual(["nothing came for 0.06 s"]);
});

test("a stream that has nothing to say but that it lives is left open", async () => {
  api.add(CLOSED);
  api.streamFaults.push({ beats: 12 });

  await all({ silenceMs: 100 });

  expect(api.streams).toHaveLength(1);
});

test("an API that is killed and comes back on its port is found again", async () => {
  api.add(fact("a"));
  const seen: number[] = [];
  for await (const { seq } of client().events("s", { after: 0 })) {
    seen.push(seq);
    if (seq !== 1) continue;
    await api.stop();
    await api.start();
    api.add(fact("b"), CLOSED);
  }
  expect(seen).toEqual([1, 2, 3]);
});

test("what a server repeats is dropped", async () => {
  api.add(fact("a"), fact("b"), CLOSED);
  api.streamFaults.push({ cutAfter: 2 }, { from: 1 });

  expect((await all()).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  expect(api.streams).toHaveLength(2);
});

test("what a server leaves out is asked for again", async () => {
  api.add(fact("a"), fact("b"), fact("c"), CLOSED);
  api.streamFaults.push({ cutAfter: 1 }, { from: 3 });

  expect((await all()).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
});

test("a server that cannot serve the stream just now is asked again", async () => {
  api.add(CLOSED);
  api.streamFaults.push({ status: 503 }, { status: 500 });

  expect(await all()).toHaveLength(1);
});

test("a session that does not exist is said in words, and not asked for again", async () => {
  api.streamFaults.push({ status: 404 });

  await expect(all()).rejects.toMatchObject({
    kind: "refused",
    message: "404 SESSION_NOT_FOUND: there is no such session",
  });
  expect(api.streams).toHaveLength(1);
});

test("an API that is not there is unreachable within seconds, with words on how to start it", async () => {
  await api.stop();

  const started = Date.now();
  await expect(all()).rejects.toMatchObject({ kind: "unreachable", message: expect.stringContaining("npm start") });
  expect(Date.now() - started).toBeLessThan(5_000);
  await api.start();
});

test("an API that stays away is given up", async () => {
  api.add(fact("a"));
  const seen: number[] = [];
  const following = async () => {
    for await (const { seq } of client().events("s", { after: 0, giveUpMs: 300 })) {
      seen.push(seq);
      await api.stop();
    }
  };

  await expect(following()).rejects.toMatchObject({ kind: "unreachable" });
  expect(seen).toEqual([1]);
  await api.start();
});

test("a server that opens streams and drops them without a word is given up too", async () => {
  api.add(fact("a"), CLOSED);
  api.streamFaults.push(...Array.from({ length: 50 }, () => ({ cutAfter: 0 })));

  await expect(all({ giveUpMs: 500 })).rejects.toMatchObject({ kind: "unreachable" });
  expect(api.streams.length).toBeLessThan(6);
});

test("a server that leaves out the same event for ever is given up too", async () => {
  api.add(fact("a"), fact("b"), CLOSED);
  api.streamFaults.push(...Array.from({ length: 50 }, () => ({ from: 2 })));

  await expect(all({ giveUpMs: 500 })).rejects.toThrow("event 2 came after 0");
  expect(api.streams.length).toBeLessThan(6);
});

test("leaving ends the stream without an error, also while it is being opened again", async () => {
  api.add(fact("a"));
  const leaving = new AbortController();
  const seen: number[] = [];
  const onConnection = () => leaving.abort();
  for await (const { seq } of client().events("s", { after: 0, signal: leaving.signal, onConnection })) {
    seen.push(seq);
    await api.stop();
  }
  expect(seen).toEqual([1]);
  await api.start();
});

test("an event of a type that this version does not know is passed on as it came", async () => {
  api.add({ type: "moon.risen", height: 3 }, CLOSED);

  const [first] = await all();

  expect(first).toMatchObject({ seq: 1, type: "moon.risen", event: undefined });
  expect(JSON.parse(first?.json ?? "")).toMatchObject({ height: 3 });
});

test("what is no event at all is not taken for one", async () => {
  api.addRaw('{"hello":"world"}');

  await expect(all()).rejects.toMatchObject({ kind: "foreign", message: expect.stringContaining("without seq") });
});

function client(): Client {
  return new Client(api.url);
}

async function all(options: Partial<EventsOptions> = {}): Promise<readonly ReceivedEvent[]> {
  const events: ReceivedEvent[] = [];
  for await (const event of client().events("s", { after: 0, ...options })) events.push(event);
  return events;
}
