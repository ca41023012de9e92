/** Files of a workspace over HTTP, at the API's own edge: streams, archives, conditions, removals, and what is refused before a worker is asked. */
import { createHash, randomBytes } from "node:crypto";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { ApiWorld, until } from "../support/api-world.ts";

let world: ApiWorld;
let id: SessionId;
beforeAll(async () => {
  world = await ApiWorld.start();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});
beforeEach(async () => {
  id = await world.createSession();
  world.sessions.asked.length = 0;
});

const lastAsked = () => world.sessions.asked.at(-1)?.request;
const inTransit = (): readonly string[] => readdirSync(path.join(world.stateDir, "transit"));

describe("what is sent", () => {
  test("arrives as it was, and nothing of it stays in transit", async () => {
    const content = randomBytes(3 * 1024 * 1024);

    const put = await world.call(`PUT /v1/sessions/${id}/files/big`, { text: new Uint8Array(content) });
    const got = await world.call(`GET /v1/sessions/${id}/files/big`);
    const part = await world.call(`GET /v1/sessions/${id}/files/big`, { headers: { range: "bytes=-10" } });

    expect(put.body).toEqual({ path: "big", bytes: content.length, sha256: sha256(content) });
    expect(got.bytes.equals(content)).toBe(true);
    expect(part).toMatchObject({ status: 206, bytes: content.subarray(-10) });
    await until(() => inTransit().length === 0);
  });

  test("may be 100 MB, of which only a part is in memory at once, both ways", async () => {
    const bytes = 100 * 1024 * 1024;
    world.sessions.answers.push({ found: "written" });
    const put = await mostMemory(() => putStream(id, bytes));

    const { id: transit, ...sent } = await world.store.transit.put(Buffer.alloc(bytes));
    world.sessions.answers.push({ found: "file", transit, ...sent });
    const got = await mostMemory(async () => {
      const response = await fetch(`${world.url}/v1/sessions/${id}/files/big`);
      let length = 0;
      for await (const chunk of response.body ?? []) length += chunk.length;
      return length;
    });

    expect(put.result).toMatchObject({ bytes });
    expect(got.result).toBe(bytes);
    // Client and server are this one process, and what is let go stays a while: the e2e test measures the API alone.
    expect(put.mostBytes).toBeLessThan(72 * 1024 * 1024);
    expect(got.mostBytes).toBeLessThan(72 * 1024 * 1024);
  }, 30_000);

  test("and breaks off is not written", async () => {
    const socket = connect(world.api.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(
      `PUT /v1/sessions/${id}/files/f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it`,
    );
    await until(() => inTransit().length === 1);
    socket.destroy();

    await until(() => inTransit().length === 0);
    expect(world.sessions.asked).toEqual([]);
  });

  test("for a session that is not there is not even stored", async () => {
    const refused = await world.call("PUT /v1/sessions/nobody/files/f", { text: "x" });

    expect(refused).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
  });

  test.each([
    ["content-encoding", "gzip", "/headers/content-encoding"],
    ["content-range", "bytes 0-0/2", "/headers/content-range"],
    ["if-none-match", '"abc"', "/headers/if-none-match"],
    ["if-match", "abc", "/headers/if-match"],
    ["if-match", '"abc", "def"', "/headers/if-match"],
  ])("with the header %s: %s is refused", async (name, value, where) => {
    const refused = await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "x", headers: { [name]: value } });

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path: where }] } });
    expect(world.sessions.asked).toEqual([]);
  });

  test.each([
    ['"abc"', "abc"],
    ["*", "*"],
  ])("with If-Match: %s goes only over that file", async (tag, match) => {
    await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "x", headers: { "if-match": tag } });

    expect(lastAsked()).toMatchObject({ operation: "write", create: false, match });
  });

  test("is only to be made anew with If-None-Match: *", async () => {
    await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "x", headers: { "if-none-match": "*" } });
    expect(lastAsked()).toMatchObject({ operation: "write", create: true });

    world.sessions.answers.push({ found: "nothing", code: "PRECONDITION_FAILED", message: "f is there already" });
    const refused = await world.call(`PUT /v1/sessions/${id}/files/f`, {
      text: "x",
      headers: { "if-none-match": "*" },
    });

    expect(refused).toMatchObject({ status: 412, body: { code: "PRECONDITION_FAILED" } });
  });
});

describe("what is read", () => {
  test("of a folder is as deep as it is asked for, and says when there is more", async () => {
    const list = { path: "src", truncated: true, files: [{ path: "src/a", kind: "file", bytes: 1, modifiedAt: 0 }] };
    const { id: transit, ...put } = await world.store.transit.put(Buffer.from(JSON.stringify(list)));
    world.sessions.answers.push({ found: "folder", transit, ...put });

    const listed = await world.call(`GET /v1/sessions/${id}/files/src?depth=16`);

    expect(listed).toMatchObject({ status: 200, body: list });
    expect(lastAsked()).toMatchObject({ operation: "read", path: "src", depth: 16 });
  });

  test.each([
    ["src", "zip", "src.zip", "application/zip"],
    ["a/b/deep.d", "tar", "deep.d.tar", "application/x-tar"],
    ["", "zip", "ID.zip", "application/zip"],
  ])("of %j as a %s has the name %s", async (folder, format, name, type) => {
    const { id: transit, ...put } = await world.store.transit.put(Buffer.from("packed"));
    world.sessions.answers.push({ found: "archive", transit, ...put });

    const got = await world.call(`GET /v1/sessions/${id}/files/${folder}?archive=${format}`);

    expect(got.headers.get("content-disposition")).toBe(`attachment; filename=${name.replace("ID", id)}`);
    expect(got.headers.get("content-type")).toBe(type);
    expect(got.bytes.toString()).toBe("packed");
    expect(lastAsked()).toMatchObject({ operation: "archive", path: folder, format });
    await until(() => inTransit().length === 0);
  });

  test("by HEAD tells its size and its tag without the bytes", async () => {
    await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "content" });

    const head = await world.call(`HEAD /v1/sessions/${id}/files/f`);

    expect(head).toMatchObject({ status: 200, bytes: Buffer.alloc(0) });
    expect(head.headers.get("content-length")).toBe("7");
    expect(head.headers.get("etag")).toBe(`"${sha256("content")}"`);
    await until(() => inTransit().length === 0);
  });

  test.each(["depth=0", "depth=17", "depth=x", "archive=rar", "archive=", "deep=1", "recursive=true"])(
    "with ?%s is refused",
    async (query) => {
      const refused = await world.call(`GET /v1/sessions/${id}/files/src?${query}`);

      expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT" } });
      expect(world.sessions.asked).toEqual([]);
    },
  );

  test("is no longer in transit when its reader has left in the middle", async () => {
    const { id: transit, ...put } = await world.store.transit.put(Buffer.alloc(8 * 1024 * 1024));
    world.sessions.answers.push({ found: "file", transit, ...put });
    const leave = new AbortController();
    const response = await fetch(`${world.url}/v1/sessions/${id}/files/f`, { signal: leave.signal });
    leave.abort();
    await response.arrayBuffer().catch(() => undefined);

    await until(() => inTransit().length === 0);
  });
});

describe("what is removed", () => {
  test("is gone, and a second time it is a 404", async () => {
    await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "x" });

    expect(await world.call(`DELETE /v1/sessions/${id}/files/f`)).toMatchObject({ status: 204 });
    expect(await world.call(`DELETE /v1/sessions/${id}/files/f`)).toMatchObject({ status: 404 });
  });

  test("goes with all that is in it only when that is asked for", async () => {
    world.sessions.answers.push(
      { found: "nothing", code: "CONFLICT", message: "d is not empty" },
      { found: "removed" },
    );

    const refused = await world.call(`DELETE /v1/sessions/${id}/files/d`);
    const removed = await world.call(`DELETE /v1/sessions/${id}/files/d?recursive=true`);

    expect(refused).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
    expect(removed.status).toBe(204);
    expect(world.sessions.asked.map(({ request }) => request)).toMatchObject([
      { recursive: false },
      { recursive: true },
    ]);
  });

  test.each(["", "/", "/a%2F..%2F..%2Fb", "/a%00", "/x?recursive=1", "/x?force=true"])(
    "is not the path %j",
    async (target) => {
      const refused = await world.call(`DELETE /v1/sessions/${id}/files${target}`);

      expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT" } });
      expect(world.sessions.asked).toEqual([]);
    },
  );
});

function sha256(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}

async function putStream(session: SessionId, bytes: number): Promise<unknown> {
  const chunk = new Uint8Array(64 * 1024);
  let left = bytes;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left <= 0) return controller.close();
      controller.enqueue(chunk.subarray(0, Math.min(left, chunk.length)));
      left -= chunk.length;
    },
  });
  const response = await fetch(`${world.url}/v1/sessions/${session}/files/big`, {
    method: "PUT",
    body,
    duplex: "half",
  });
  return await response.json();
}

/** How much more of buffers there was at any time than before. */
async function mostMemory<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly mostBytes: number }> {
  const before = process.memoryUsage().arrayBuffers;
  let mostBytes = 0;
  const look = setInterval(() => {
    mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - before);
  }, 5);
  try {
    return { result: await work(), mostBytes };
  } finally {
    clearInterval(look);
  }
}
