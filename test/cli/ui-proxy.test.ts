/** The way to Temporal's UI: the user's own browser comes through, and no page of another site, by whatever name it calls us. */
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { httpApiFault } from "../../cli/temporal-http.ts";
import { startUiProxy, type UiProxy } from "../../cli/ui-proxy.ts";

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const seen: Seen[] = [];
const ui = createServer((incoming, response) => {
  let body = "";
  incoming.setEncoding("utf8").on("data", (text: string) => {
    body += text;
  });
  incoming.on("end", () => {
    seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body });
    response.writeHead(201, { "x-of-ui": "yes", "content-type": "text/html" }).end("a page");
  });
});
let proxy: UiProxy;
let port: number;

beforeAll(async () => {
  await new Promise<void>((resolve) => ui.listen(0, "127.0.0.1", resolve));
  proxy = await startUiProxy(0, () => ({ host: "127.0.0.1", port: (ui.address() as AddressInfo).port }));
  port = Number(new URL(proxy.url).port);
});
afterAll(() => {
  proxy.close();
  ui.close();
});

function ask(headers: Record<string, string>, method = "GET", body = ""): Promise<{ status: number; headers: object }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, method, path: "/a?b=1", headers, agent: false }, (response) => {
      response.resume().once("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
    });
    asked.once("error", reject).end(body);
  });
}

test.each(["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])("a browser at %s comes through", async (name) => {
  const before = seen.length;
  const host = `${name}:${port}`;
  const headers = { host, origin: `http://${host}`, "sec-fetch-site": "same-origin" };
  const answer = await ask(headers, "POST", "body");
  expect(answer.status).toBe(201);
  expect(answer.headers).toMatchObject({ "x-of-ui": "yes", "x-frame-options": "DENY" });
  expect(seen.slice(before)).toMatchObject([{ method: "POST", url: "/a?b=1", body: "body" }]);
  expect(seen.at(-1)?.headers.origin).toBeUndefined();
});

test.each<[string, Record<string, string>]>([
  ["a name that was made to resolve to us", { host: "evil.example" }],
  ["such a name with our port", { host: "evil.example:PORT" }],
  ["a name that begins as ours", { host: "127.0.0.1.evil.example:PORT" }],
  ["another port", { host: "127.0.0.1:1" }],
  ["no port", { host: "localhost" }],
  ["a page of another site", { host: "127.0.0.1:PORT", origin: "http://evil.example" }],
  ["a page of another port", { host: "127.0.0.1:PORT", origin: "http://127.0.0.1:1" }],
  ["a page without an origin", { host: "127.0.0.1:PORT", origin: "null" }],
  ["an image of another site", { host: "127.0.0.1:PORT", "sec-fetch-site": "cross-site" }],
  ["a form of another port", { host: "127.0.0.1:PORT", "sec-fetch-site": "same-site" }],
])("%s is refused, and reaches nothing", async (_what, headers) => {
  const before = seen.length;
  const sent = Object.fromEntries(
    Object.entries(headers).map(([name, text]) => [name, text.replace("PORT", `${port}`)]),
  );
  for (const method of ["GET", "POST", "DELETE"]) expect((await ask(sent, method)).status).toBe(403);
  expect(seen).toHaveLength(before);
});

test("an HTTP API that answers is open, one that refuses or is not there is closed", async () => {
  const open = (ui.address() as AddressInfo).port;
  expect(await httpApiFault("127.0.0.1", open)).toMatch(
    /is open \(it answered 201 at 127\.0\.0\.1:\d+\).*TEMPORAL_ADDRESS/,
  );
  const refusing = createServer((_incoming, response) => response.writeHead(403).end());
  await new Promise<void>((resolve) => refusing.listen(0, "127.0.0.1", resolve));
  const closed = (refusing.address() as AddressInfo).port;
  expect(await httpApiFault("127.0.0.1", closed)).toBeUndefined();
  await new Promise((resolve) => refusing.close(resolve));
  expect(await httpApiFault("127.0.0.1", closed)).toBeUndefined();
});
