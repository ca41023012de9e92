/** The edge itself: what is no JSON, no HTTP, no route or no friend. */
import { connect } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { ApiWorld } from "../support/api-world.ts";

const JSON_HEADERS = { "content-type": "application/json" };

describe("bodies", () => {
  test.each([
    ["malformed JSON", "{", 400, "INVALID_INPUT"],
    ["a bare value", "5", 400, "INVALID_INPUT"],
    ["a list", "[]", 400, "INVALID_INPUT"],
    ["no UTF-8", new Uint8Array([0x7b, 0xff]), 400, "INVALID_INPUT"],
    ["a body that is too large", `{"title":"${"x".repeat(LIMITS.bodyBytesMax)}"}`, 413, "PAYLOAD_TOO_LARGE"],
    ["a body that nests for ever", "[".repeat(100_000) + "]".repeat(100_000), 400, "INVALID_INPUT"],
    [
      "deep nesting in a free field",
      `{"agent":{"outputSchema":${'{"a":'.repeat(90)}1${"}".repeat(92)}`,
      400,
      "INVALID_INPUT",
    ],
    ["more values than anybody needs", `{"agent":{"tools":[${"0,".repeat(200_000)}0]}}`, 400, "INVALID_INPUT"],
    ["a key that reaches prototypes", '{"metadata":{"__proto__":{"x":1}}}', 400, "INVALID_INPUT"],
  ])("%s is refused as a problem document", async (_what, text, status, code) => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", { text: text as string, headers: JSON_HEADERS });

    expect(refused).toMatchObject({ status, body: { code } });
    expect(refused.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
  });

  test("8 MB of brackets are refused before they are parsed", async () => {
    await using world = await ApiWorld.start();
    const delay = monitorEventLoopDelay({ resolution: 5 });
    const text = "[".repeat(LIMITS.bodyBytesMax - 1);
    delay.enable();

    const refused = await world.call("POST /v1/sessions", { text, headers: JSON_HEADERS });

    expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT" } });
    expect(delay.max / 1e6).toBeLessThan(5_000);
  });

  test.each([
    ["a bare value", "5", "", /expected object, received number/],
    ["null", "null", "", /expected object, received null/],
    [
      "a field that is not there",
      '{"overrides":{"policy":{"rules":[{"action":"ask"}]}}}',
      "/overrides/policy/rules/0/tool",
      /^this is required$/,
    ],
    ["a list that never ends", "[".repeat(1_000) + "]".repeat(1_000), "", /at most 64 nested/],
  ])("%s is told in words, with its place", async (_what, text, path, words) => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", { text, headers: JSON_HEADERS });

    expect(refused.body).toMatchObject({ errors: [{ path, message: expect.stringMatching(words) }] });
  });

  test("one that is needed and is not there is asked for", async () => {
    await using world = await ApiWorld.start();

    const answer = await raw(world, "POST /v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");

    expect(answer).toContain('"errors":[{"path":"","message":"expected a body of JSON; there is none"}]');
  });

  test("one in another encoding than it says is refused in words", async () => {
    await using world = await ApiWorld.start();
    const headers = { ...JSON_HEADERS, "content-encoding": "gzip" };

    const refused = await world.call("POST /v1/sessions", { text: "{}", headers });

    expect(refused).toMatchObject({
      status: 400,
      body: { errors: [{ path: "", message: expect.stringMatching(/^the body cannot be read: /) }] },
    });
  });

  test.each([
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=latin1",
  ])("a body of type %s is refused", async (type) => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", { text: "{}", headers: { "content-type": type } });

    expect(refused).toMatchObject({ status: 415, body: { code: "UNSUPPORTED_MEDIA_TYPE" } });
  });

  test("a body that claims an unknown encoding is refused", async () => {
    await using world = await ApiWorld.start();

    const refused = await world.call("POST /v1/sessions", {
      text: "{}",
      headers: { ...JSON_HEADERS, "content-encoding": "zip" },
    });

    expect(refused.status).toBe(415);
  });
});

describe("routes", () => {
  test("what is not there is a 404 in the same words", async () => {
    await using world = await ApiWorld.start();

    for (const target of ["/", "/v1", "/v1/session", "/V1/sessions", "/v1/sessions/", "/v1/sessions/a/b/c"]) {
      expect(await world.call(`GET ${target}`)).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    }
  });

  test("a method that is not there is a 405 that says which are", async () => {
    await using world = await ApiWorld.start();

    const refused = await world.call("PUT /v1/sessions/x");

    expect(refused).toMatchObject({ status: 405, body: { code: "METHOD_NOT_ALLOWED" } });
    expect(refused.headers.get("allow")).toBe("GET, HEAD, PATCH, DELETE");
  });

  test("every answer has an id, the client's own when it sent one", async () => {
    await using world = await ApiWorld.start();

    const ours = await world.call("GET /nowhere");
    const theirs = await world.call("GET /healthz", { headers: { "x-request-id": "trace-1" } });

    expect(ours.headers.get("x-request-id")).toMatch(/^req_/);
    expect(theirs.headers.get("x-request-id")).toBe("trace-1");
  });

  test("bytes that are no HTTP are answered as a problem, and the next request is served", async () => {
    await using world = await ApiWorld.start();

    const answer = await raw(world, "NONSENSE\r\n\r\n");

    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"code":"INVALID_INPUT"');
    expect((await world.call("GET /healthz")).status).toBe(200);
  });

  test("an expectation that nobody knows is ignored", async () => {
    await using world = await ApiWorld.start();

    const answer = await raw(
      world,
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\nConnection: close\r\n\r\n",
    );

    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  test("a part of the path that cannot be decoded is refused in words", async () => {
    await using world = await ApiWorld.start();

    const refused = await world.call("GET /v1/agents/%ff");

    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "/path" }] } });
  });

  test("a fault of ours says nothing of itself", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    world.sessions.fail("failed", "close");

    const failed = await world.call(`POST /v1/sessions/${id}/close`);

    expect(failed).toMatchObject({ status: 500, body: { code: "INTERNAL", detail: "internal error" } });
    expect(failed.bytes.toString()).not.toContain("scripted");
  });
});

describe("who may call", () => {
  test.each(["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""])(
    "a request to the name %s is refused",
    async (host) => {
      await using world = await ApiWorld.start();

      const answer = await raw(world, `GET /v1/sessions HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

      expect(answer).toMatch(/^HTTP\/1\.1 403 /);
      expect(answer).toContain('"code":"FORBIDDEN"');
    },
  );

  test.each(["localhost", "LOCALHOST:9", "127.0.0.1:1", "[::1]:80", "perdure.localhost"])(
    "a request to %s is served",
    async (host) => {
      await using world = await ApiWorld.start();

      expect(await raw(world, `GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).toMatch(
        /^HTTP\/1\.1 200 /,
      );
    },
  );

  test("a page of another origin is refused, whatever it tries; a page of this one is served", async () => {
    await using world = await ApiWorld.start();

    for (const origin of ["http://evil.example", "null", "http://localhost:1", `https://127.0.0.1:${world.api.port}`]) {
      const refused = await world.call("POST /v1/sessions", { json: {}, headers: { origin } });
      expect(refused).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });
    }
    const own = await world.call("POST /v1/sessions", { json: {}, headers: { origin: world.url } });

    expect(own.status).toBe(201);
  });
});

describe("the process", () => {
  test("readiness says which part is not ready", async () => {
    await using world = await ApiWorld.start();
    const ready = await world.call("GET /readyz");
    world.sessions.fail("unreachable", "check");

    const away = await world.call("GET /readyz");

    expect(ready).toMatchObject({ status: 200, body: { status: "ready" } });
    expect(away).toMatchObject({ status: 503, body: { code: "UNAVAILABLE", errors: [{ path: "/checks/temporal" }] } });
  });

  test("metrics count answers, streams and events", async () => {
    await using world = await ApiWorld.start();
    const id = await world.createSession();
    using stream = await world.stream(`/v1/sessions/${id}/events`);
    await stream.frame(1);

    const metrics = (await world.call("GET /metrics")).bytes.toString();

    expect(metrics).toContain('perdure_api_requests_total{method="POST",status="201"} 1');
    expect(metrics).toContain('perdure_api_streams_open{kind="events"} 1');
    expect(metrics).toContain("perdure_api_events_streamed_total 1");
  });

  test("the page and the document hold every operation and every problem", async () => {
    await using world = await ApiWorld.start();

    const document = (await world.call("GET /openapi.json")).body as { openapi: string; paths: Record<string, object> };
    const page = (await world.call("GET /docs")).bytes.toString();

    expect(document.openapi).toBe("3.1.1");
    for (const path of Object.keys(document.paths)) expect(page).toContain(path);
    expect(page).toContain('id="SESSION_CLOSED"');
    const links = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => `id="${id}"`);
    expect(links).toContain('id="createSession"');
    expect(links.filter((id) => !page.includes(id))).toEqual([]);
    expect(page).not.toMatch(/<script|https?:\/\//);
  });
});

function raw(world: ApiWorld, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(world.api.port, "127.0.0.1");
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString();
    });
    socket.on("end", () => resolve(received));
    socket.on("error", reject);
    socket.write(text);
  });
}
