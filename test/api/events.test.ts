/** The event log over HTTP: as pages, and as a stream that resumes anywhere. */
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { closeSession } from "../../store/session-closing.ts";
import { ApiWorld, aDelta, until } from "../support/api-world.ts";

const seqs = (frames: readonly { readonly data: Record<string, unknown> }[]): unknown[] =>
  frames.map((frame) => frame.data["seq"]);
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, n) => from + n);

describe("pages", () => {
  test("a page goes on where `next` says", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.append(id, ...range(1, 9).map((n) => aDelta(n)));

    const first = await world.call(`GET /v1/sessions/${id}/events?limit=4`);
    const rest = await world.call(`GET /v1/sessions/${id}/events?after=${String(first.body["next"])}`);
    const none = await world.call(`GET /v1/sessions/${id}/events?after=${String(rest.body["next"])}`);

    expect((first.body["events"] as { seq: number }[]).map((event) => event.seq)).toEqual([1, 2, 3, 4]);
    expect((rest.body["events"] as { seq: number }[]).map((event) => event.seq)).toEqual(range(5, 10));
    expect(none.body).toEqual({ events: [], next: 10 });
  });

  test.each([
    ["after=-1", "/query/after"],
    ["after=x", "/query/after"],
    ["after=99", "/query/after"],
    ["limit=1001", "/query/limit"],
    ["from=1", "/query/from"],
  ])("?%s is refused", async (query, path) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    expect(await world.call(`GET /v1/sessions/${id}/events?${query}`)).toMatchObject({
      status: 400,
      body: { errors: [{ path }] },
    });
  });

  test("a client that accepts neither pages nor streams is told what there is", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await world.call(`GET /v1/sessions/${id}/events`, { headers: { accept: "image/png" } });

    expect(refused).toMatchObject({ status: 406, body: { code: "NOT_ACCEPTABLE" } });
  });
});

describe("the stream", () => {
  test("it replays the log, goes on live and ends after session.closed", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.append(id, aDelta(1));
    using stream = await world.stream(`/v1/sessions/${id}/events`);
    await stream.frame(2);

    await world.append(id, aDelta(2), aDelta(3));
    await closeSession(world.store.database, id);
    await stream.ended;

    expect(seqs(stream.frames)).toEqual([1, 2, 3, 4, 5]);
    expect(stream.frames.map((frame) => frame.id)).toEqual(["1", "2", "3", "4", "5"]);
    expect(stream.frames.every((frame) => frame.event === undefined)).toBe(true);
    expect(stream.retryMs).toBe(LIMITS.sseRetryMs);
    expect(stream.headers.get("content-type")).toBe("text/event-stream");
    expect(stream.headers.get("cache-control")).toContain("no-transform");
  });

  test("it resumes behind any seq, and Last-Event-ID wins over ?after=", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.append(id, ...range(1, 30).map((n) => aDelta(n)));
    await closeSession(world.store.database, id);

    for (const after of [0, 1, 15, 31, 32]) {
      using stream = await world.stream(`/v1/sessions/${id}/events?after=3`, { "last-event-id": String(after) });
      await stream.ended;
      expect(seqs(stream.frames)).toEqual(after < 32 ? range(after + 1, 32) : []);
    }
  });

  test("readers that come at any moment of a busy log see every event once", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const streams = [await world.stream(`/v1/sessions/${id}/events`)];

    for (let n = 0; n < 40; n++) {
      await world.append(id, ...range(1, (n % 7) + 1).map((k) => aDelta(n * 10 + k)));
      if (n % 5 === 0) streams.push(await world.stream(`/v1/sessions/${id}/events?after=${n}`));
    }
    await closeSession(world.store.database, id);
    await Promise.all(streams.map((stream) => stream.ended));

    const { body } = await world.call(`GET /v1/sessions/${id}`);
    const last = body["lastSeq"] as number;
    for (const stream of streams) {
      const first = stream.frames[0]?.data["seq"] as number;
      expect(seqs(stream.frames)).toEqual(range(first, last));
    }
  });

  test("?stream=1 streams to a client that cannot set headers", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await closeSession(world.store.database, id);

    using stream = await world.stream(`/v1/sessions/${id}/events?stream=1`, { accept: "*/*" });
    await stream.ended;

    expect(seqs(stream.frames)).toEqual([1, 2]);
  });

  test.each(["x", "-1", "1.5", "99", "0x1", "1 2"])("Last-Event-ID %s is refused", async (lastEventId) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await world.call(`GET /v1/sessions/${id}/events`, {
      headers: { accept: "text/event-stream", "last-event-id": lastEventId },
    });

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/headers/last-event-id" }] } });
  });

  test("the stream of a session that is not there is a 404", async () => {
    await using world = await ApiWorld.start();

    const refused = await world.call("GET /v1/sessions/nobody/events", { headers: { accept: "text/event-stream" } });

    expect(refused).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
  });

  test("HEAD tells the type and opens nothing", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const head = await world.call(`HEAD /v1/sessions/${id}/events`, { headers: { accept: "text/event-stream" } });

    expect(head.headers.get("content-type")).toBe("text/event-stream");
  });

  test("a reader that does not read costs nothing but its buffer, and misses nothing when it reads again", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const socket = connect(world.api.port, "127.0.0.1");
    socket.pause();
    socket.write(`GET /v1/sessions/${id}/events?stream=1 HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const text = "x".repeat(16 * 1024);
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;

    for (let n = 0; n < 40; n++) await world.append(id, ...range(1, 50).map((k) => aDelta(n * 50 + k, text)));
    using quick = await world.stream(`/v1/sessions/${id}/events?after=1990`);
    await quick.frame(11);
    const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before;
    await closeSession(world.store.database, id);
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1").replaceAll(/x{100,}/g, "");
    });
    socket.resume();
    await until(() => received.includes("session.closed"), 20_000);
    socket.destroy();

    const ids = [...received.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    expect(ids).toEqual(range(1, 2002));
    expect(grown).toBeLessThan(120 * 1024 * 1024);
  }, 40_000);

  test("a session that is purged ends its streams", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    using stream = await world.stream(`/v1/sessions/${id}/events`);
    await stream.frame(1);

    expect((await world.call(`DELETE /v1/sessions/${id}`)).status).toBe(204);

    await stream.ended;
  });

  test("when the process goes down, streams end in words and new ones are refused", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    using stream = await world.stream(`/v1/sessions/${id}/events`);
    await stream.frame(1);
    const startedAt = Date.now();

    await world.api.drain();
    await stream.ended;

    expect(stream.comments.join()).toContain("going down");
    expect(Date.now() - startedAt).toBeLessThan(10_000);
  });
});
