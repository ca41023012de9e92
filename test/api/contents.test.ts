/** What a session holds, over HTTP: its transcript, its artifacts, the files of its workspace. */
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { newId, type SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { recordArtifact } from "../../store/artifacts.ts";
import { receiveMessage } from "../../store/messages.ts";
import { closeSession } from "../../store/session-closing.ts";
import { appendMessages, placeMessage } from "../../store/transcript.ts";
import { beginTurn } from "../../store/turns.ts";
import { ApiWorld } from "../support/api-world.ts";

describe("the transcript", () => {
  test("what is for the provider alone is not shown", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const thinking = { type: "thinking" as const, text: "hm", opaque: { backend: "openai", item: "SECRET" } };
    await world.store.database.write((tx) => appendMessages(tx, id, [{ role: "assistant", blocks: [thinking] }]));

    const { body, bytes } = await world.call(`GET /v1/sessions/${id}/transcript`);

    expect(body).toEqual({
      messages: [{ position: 1, role: "assistant", blocks: [{ type: "thinking", text: "hm" }] }],
      next: null,
    });
    expect(bytes.toString()).not.toContain("SECRET");
  });

  test("pages go on where `next` says, and end before a result that is still to come", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const says = (text: string) => ({ role: "user" as const, blocks: [{ type: "text" as const, text }] });
    await world.store.database.write((tx) => appendMessages(tx, id, [says("1"), says("2"), says("3")], 2));
    await world.store.database.write((tx) => placeMessage(tx, id, { position: 5, message: says("5") }));
    const page = async (query: string) => {
      const { body } = await world.call(`GET /v1/sessions/${id}/transcript?${query}`);
      return {
        positions: (body["messages"] as { position: number }[]).map((message) => message.position),
        next: body["next"],
      };
    };

    expect(await page("limit=2")).toEqual({ positions: [1, 2], next: 2 });
    expect(await page("after=2")).toEqual({ positions: [3], next: null });
    await world.store.database.write((tx) => placeMessage(tx, id, { position: 4, message: says("4") }));
    expect(await page("after=3")).toEqual({ positions: [4, 5], next: null });
  });
});

async function anArtifact(
  world: ApiWorld,
  id: SessionId,
  upload: { path: string; content: string; contentType: string },
) {
  const blob = await world.store.blobs.put(Buffer.from(upload.content));
  const scanned = { path: upload.path, bytes: blob.bytes, modifiedAt: 1 };
  const messageId = newId("msg");
  const ids = { sessionId: id, turnId: newId("turn") };
  await receiveMessage(world.store.database, { ...ids, id: messageId, mode: "queue", content: "make it" });
  await world.store.database.write((tx) => beginTurn(tx, { ...ids, messageId }));
  await recordArtifact(world.store.database, ids, { scanned, ...blob, contentType: upload.contentType });
  const { body } = await world.call(`GET /v1/sessions/${id}/artifacts`);
  const artifact = (body["artifacts"] as { id: string; path: string }[]).find((one) => one.path === upload.path);
  return { url: `/v1/sessions/${id}/artifacts/${artifact?.id}`, ...blob };
}

describe("artifacts", () => {
  test("the bytes come whole, tagged with their digest, and never to be run by a browser", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const { url, sha256 } = await anArtifact(world, id, {
      path: 'outputs/a b".html',
      content: "<b>hi</b>",
      contentType: "text/html",
    });

    const { status, headers, bytes } = await world.call(`GET ${url}`);

    expect([status, bytes.toString()]).toEqual([200, "<b>hi</b>"]);
    expect(headers.get("etag")).toBe(`"${sha256}"`);
    expect(headers.get("content-type")).toBe("text/html");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("content-disposition")).toBe(`attachment; filename="a b\\".html"`);
    expect(headers.get("content-security-policy")).toContain("sandbox");
  });

  test.each([
    ["bytes=0-3", 206, "0123", "bytes 0-3/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-2", 206, "89", "bytes 8-9/10"],
    ["bytes=5-100", 206, "56789", "bytes 5-9/10"],
    ["bytes=5-99999999999999999999", 206, "56789", "bytes 5-9/10"],
    ["Bytes=0-3", 206, "0123", "bytes 0-3/10"],
    ["bytes=0-1,4-5", 200, "0123456789", null],
    ["lines=1-2", 200, "0123456789", null],
    ["bytes=5-2", 200, "0123456789", null],
  ])("Range: %s", async (range, status, content, contentRange) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const { url } = await anArtifact(world, id, {
      path: "outputs/n.txt",
      content: "0123456789",
      contentType: "text/plain",
    });

    const answer = await world.call(`GET ${url}`, { headers: { range } });

    expect([answer.status, answer.bytes.toString(), answer.headers.get("content-range")]).toEqual([
      status,
      content,
      contentRange,
    ]);
  });

  test.each(["bytes=10-", "bytes=99-100", "bytes=-0"])("Range: %s lies outside", async (range) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const { url } = await anArtifact(world, id, {
      path: "outputs/n.txt",
      content: "0123456789",
      contentType: "text/plain",
    });

    const answer = await world.call(`GET ${url}`, { headers: { range } });

    expect(answer).toMatchObject({ status: 416, body: { code: "RANGE_NOT_SATISFIABLE" } });
    expect(answer.headers.get("content-range")).toBe("bytes */10");
  });

  test("a client that has the bytes is told so, and HEAD tells their number", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const { url, sha256 } = await anArtifact(world, id, {
      path: "outputs/n.txt",
      content: "0123456789",
      contentType: "text/plain",
    });

    const same = await world.call(`GET ${url}`, { headers: { "if-none-match": `"${sha256}"` } });
    const head = await world.call(`HEAD ${url}`);

    expect([same.status, same.bytes.length]).toEqual([304, 0]);
    expect([head.status, head.headers.get("content-length")]).toEqual([200, "10"]);
  });

  test("an empty artifact is empty", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const { url } = await anArtifact(world, id, { path: "outputs/empty", content: "", contentType: "text/plain" });

    expect((await world.call(`GET ${url}`)).headers.get("content-length")).toBe("0");
  });

  test("an artifact of another session is not found, and one whose bytes are lost is a 503", async () => {
    await using world = await ApiWorld.start();
    const [one, two] = [await world.createSession(), await world.createSession()];
    const { url, sha256 } = await anArtifact(world, one, {
      path: "outputs/n",
      content: "n",
      contentType: "text/plain",
    });

    const other = await world.call(`GET ${url.replace(one, two)}`);
    await world.store.blobs.remove(sha256);
    const lost = await world.call(`GET ${url}`);

    expect(other).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    expect(lost).toMatchObject({ status: 503, body: { code: "STORAGE_ERROR" } });
  });
});

describe("files of the workspace", () => {
  test("what is put is got, listed, and tagged", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    const content = Buffer.from([0, 1, 2, 255]);

    const put = await world.call(`PUT /v1/sessions/${id}/files/src/a%20b.bin`, { text: content });
    const got = await world.call(`GET /v1/sessions/${id}/files/src/a%20b.bin`);
    const listed = await world.call(`GET /v1/sessions/${id}/files/src`);
    const root = await world.call(`GET /v1/sessions/${id}/files`);

    expect(put).toMatchObject({ status: 200, body: { path: "src/a b.bin", bytes: 4 } });
    expect(got.bytes).toEqual(content);
    expect(got.headers.get("etag")).toBe(`"${String(put.body["sha256"])}"`);
    expect(listed.body).toMatchObject({ path: "src", files: [{ path: "src/a b.bin", bytes: 4 }] });
    expect(root.body).toMatchObject({ path: "", files: [{ path: "src/a b.bin" }] });
  });

  test("an empty body writes an empty file", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    expect(await world.call(`PUT /v1/sessions/${id}/files/empty`)).toMatchObject({ status: 200, body: { bytes: 0 } });
  });

  test("a file that is too large is refused before it is stored", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const refused = await raw(
      world,
      `PUT /v1/sessions/${id}/files/big HTTP/1.1\r\nContent-Length: ${LIMITS.fileBodyBytesMax + 1}`,
    );

    expect(refused).toMatch(/^HTTP\/1\.1 413 /);
    expect(refused).toContain('"code":"PAYLOAD_TOO_LARGE"');
    expect(world.sessions.count("workspace")).toBe(0);
  });

  test.each([
    "../etc/passwd",
    "a/../../b",
    "%2e%2e/etc",
    "%2e%2e%2fetc",
    "a/..%2f..%2fb",
    "..%5c..%5cb",
    "a\\b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "a//b",
    "./a",
    "a%00b",
    "%ff",
    "%zz",
  ])("the path %s does not reach the workspace", async (target) => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    // A raw socket, because fetch would tidy the path.
    for (const method of ["GET", "PUT"]) {
      const answer = await raw(world, `${method} /v1/sessions/${id}/files/${target} HTTP/1.1`);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      expect(answer).toContain('"code":"INVALID_INPUT"');
    }
    expect(world.sessions.count("workspace")).toBe(0);
  });

  test("a name that only looks encoded is decoded once and no more", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();

    const put = await world.call(`PUT /v1/sessions/${id}/files/%252e%252e`, { text: "x" });

    expect(put.body["path"]).toBe("%2e%2e");
  });

  test("what is not there is a 404, a closed session a 409, and without a worker it is a 503", async () => {
    await using world = await ApiWorld.start();
    const [open, closed] = [await world.createSession(), await world.createSession()];
    await closeSession(world.store.database, closed);

    const nothing = await world.call(`GET /v1/sessions/${open}/files/nothing`);
    const over = await world.call(`GET /v1/sessions/${closed}/files/x`);
    world.sessions.fail("unanswered", "workspace");
    const away = await world.call(`GET /v1/sessions/${open}/files/x`);

    expect(nothing).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    expect(over).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
    expect(away).toMatchObject({ status: 503, body: { code: "UNAVAILABLE" } });
  });

  test("readers of the same file at once all get it", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    await world.call(`PUT /v1/sessions/${id}/files/f`, { text: "content" });

    const answers = await Promise.all(Array.from({ length: 10 }, () => world.call(`GET /v1/sessions/${id}/files/f`)));

    expect(new Set(answers.map((answer) => answer.bytes.toString()))).toEqual(new Set(["content"]));
  });
});

function raw(world: ApiWorld, requestLine: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(world.api.port, "127.0.0.1");
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
    socket.write(`${requestLine}\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  });
}
