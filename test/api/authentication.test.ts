/** Who may call: with the token everything, without it nothing that tells of a session, wherever the token is put. */
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ApiWorld } from "../support/api-world.ts";
import { askForTerminal } from "../support/terminal-client.ts";

const TOKEN = `perdure_${"t".repeat(43)}`;
const RIGHT = { authorization: `Bearer ${TOKEN}` };
let world: ApiWorld;

beforeAll(async () => {
  world = await ApiWorld.start({ value: TOKEN, place: "/state/token" });
  await world.call("POST /v1/sessions", { json: { id: "mine" }, headers: RIGHT });
});
afterAll(() => world[Symbol.asyncDispose]());

/** The status of a request as a program writes it, with the path byte for byte. */
function statusOf(method: string, path: string, headers: Record<string, string> = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port: world.api.port, method, path, headers }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    });
    asked.once("error", reject).end();
  });
}

describe("without the token", () => {
  test.each([
    ["GET", "/v1/sessions"],
    ["GET", "/v1/sessions/mine"],
    ["GET", "/v1/sessions/mine/"],
    ["GET", "/v1/sessions/mine/events"],
    ["GET", "/v1/sessions/mine/progress"],
    ["GET", "/v1/sessions/mine/terminal"],
    ["GET", "/v1/sessions/mine/files/a"],
    ["HEAD", "/v1/sessions/mine"],
    ["OPTIONS", "/v1/sessions/mine"],
    ["DELETE", "/v1/sessions/mine"],
    ["POST", "/v1/sessions"],
    ["PUT", "/v1/sessions/mine/files/a"],
    ["GET", "/metrics"],
    ["GET", "/nothing"],
    ["GET", "/"],
    ["GET", "//healthz"],
    ["GET", "/healthz/"],
    ["GET", "/healthz/../v1/sessions"],
    ["GET", "/healthz%2f..%2fv1/sessions"],
    ["GET", "/HEALTHZ"],
    ["GET", "http://127.0.0.1/v1/sessions"],
    ["GET", "/v1/sessions?/healthz"],
  ])("%s %s is refused with 401", async (method, path) => {
    expect(await statusOf(method, path)).toBe(401);
  });

  test.each(["/healthz", "/readyz", "/docs", "/openapi.json"])("%s answers", async (path) => {
    expect((await world.call(`GET ${path}`)).status).toBe(200);
  });

  test("the refusal says what is wanted, and where it is", async () => {
    const { status, headers, body } = await world.call("GET /v1/sessions");
    expect([status, body["code"]]).toEqual([401, "UNAUTHORIZED"]);
    expect(headers.get("www-authenticate")).toBe('Bearer realm="perdure"');
    expect(body["detail"]).toContain('"Authorization: Bearer <token>"');
    expect(body["detail"]).toContain("/state/token");
  });

  test("a body is not read before the refusal", async () => {
    const answer = await world.call("POST /v1/sessions", {
      text: "{",
      headers: { "content-type": "application/json" },
    });
    expect(answer.status).toBe(401);
  });
});

describe("with a token", () => {
  test.each([
    ["Bearer ", false],
    [`Bearer ${TOKEN}x`, false],
    [`Bearer ${TOKEN.slice(0, -1)}`, false],
    [`Bearer ${TOKEN} ${TOKEN}`, false],
    [`Basic ${Buffer.from(`x:${TOKEN}`).toString("base64")}`, false],
    [TOKEN, false],
    [`bearer ${TOKEN}`, true],
    [`BEARER  ${TOKEN}`, true],
    [`Bearer ${TOKEN}`, true],
  ])("the header %j is taken: %s", async (authorization, isTaken) => {
    const { status } = await world.call("GET /v1/sessions", { headers: { authorization } });
    expect(status).toBe(isTaken ? 200 : 401);
  });

  test("a refusal never repeats what came", async () => {
    const { body } = await world.call("GET /v1/sessions", { headers: { authorization: "Bearer perdure_guess" } });
    expect(JSON.stringify(body)).not.toContain("guess");
  });

  test("in the URL it is taken by streams alone", async () => {
    using events = await world.stream(`/v1/sessions/mine/events?token=${TOKEN}`);
    using progress = await world.stream(`/v1/sessions/mine/progress?token=${TOKEN}`);
    expect([events.status, progress.status]).toEqual([200, 200]);
    expect((await events.frame(1)).event ?? "message").toBeDefined();
    expect((await world.call(`GET /v1/sessions/mine/events?stream=0&token=${TOKEN}`)).status).toBe(401);
    expect((await world.call(`GET /v1/sessions/mine?token=${TOKEN}`)).status).toBe(401);
    expect(await statusOf("DELETE", `/v1/sessions/mine/events?token=${TOKEN}`)).toBe(401);
  });

  test("a wrong header beside a right URL is refused", async () => {
    const headers = { authorization: "Bearer wrong" };
    using stream = await world.stream(`/v1/sessions/mine/events?token=${TOKEN}`, headers);
    expect(stream.status).toBe(401);
  });

  test("an error of a stream does not show the token of its URL", async () => {
    const { status, body } = await world.call(`GET /v1/sessions/mine/events?stream=1&nonsense=1&token=${TOKEN}`);
    expect(status).toBe(400);
    expect(JSON.stringify(body)).not.toContain(TOKEN);
  });

  test("a terminal takes it in either place, and is refused without it", async () => {
    const route = "/v1/sessions/none/terminal";
    const ask = async (target: string, headers = {}) => (await askForTerminal(world.url, target, headers)) as never;
    expect(await ask(route)).toMatchObject({ status: 401, body: { code: "UNAUTHORIZED" } });
    expect(await ask(`${route}?token=wrong`)).toMatchObject({ status: 401 });
    expect(await ask(`${route}?token=${TOKEN}`)).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
    expect(await ask(route, RIGHT)).toMatchObject({ status: 404, body: { code: "SESSION_NOT_FOUND" } });
  });
});

describe("what a browser tells of a page of another site", () => {
  test.each(["cross-site", "same-site", "none, cross-site", ""])("Sec-Fetch-Site: %j is refused", async (site) => {
    const { status, body } = await world.call("GET /v1/sessions", { headers: { ...RIGHT, "sec-fetch-site": site } });
    expect([status, body["code"]]).toEqual([403, "FORBIDDEN"]);
  });

  test.each(["same-origin", "none"])("Sec-Fetch-Site: %s is served", async (site) => {
    expect((await world.call("GET /v1/sessions", { headers: { ...RIGHT, "sec-fetch-site": site } })).status).toBe(200);
  });

  test("a foreign page is told before anything is said of tokens", async () => {
    expect(await statusOf("GET", "/v1/sessions", { "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await statusOf("GET", "/healthz", { "sec-fetch-site": "cross-site" })).toBe(403);
    const answer = await askForTerminal(world.url, "/v1/sessions/mine/terminal", { "sec-fetch-site": "cross-site" });
    expect(answer).toMatchObject({ status: 403 });
  });
});
