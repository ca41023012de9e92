/** Which token our commands send, and to whom they never send one. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { apiToken } from "../../cli/api-token.ts";
import { Client } from "../../cli/client.ts";
import { makeToken } from "../../store/api-token.ts";

const RUNNING = "http://127.0.0.1:45678";
const OTHER = `perdure_${"o".repeat(43)}`;
let stateDir: string;
let token: string;
beforeEach(() => {
  stateDir = mkdtempSync(path.join(tmpdir(), "perdure-client-token-"));
  token = makeToken(stateDir);
});
afterEach(() => rmSync(stateDir, { recursive: true }));

function runs(): void {
  writeFileSync(path.join(stateDir, "supervisor.json"), JSON.stringify({ apiUrl: RUNNING }));
}

test("the stack of the state folder gets the state folder's, whatever PERDURE_TOKEN says", () => {
  runs();
  const env = { PERDURE_STATE_DIR: stateDir, PERDURE_TOKEN: OTHER };
  expect(apiToken({ address: RUNNING, isGiven: false }, env)).toBe(token);
  expect(apiToken({ address: `${RUNNING}/`, isGiven: true }, env)).toBe(token);
});

test.each([
  "http://127.0.0.1:45679",
  "http://localhost:45678",
  "https://127.0.0.1:45678",
  "http://elsewhere:45678",
  "http://127.0.0.1.example:45678",
])("an API at %s never gets the state folder's", (address) => {
  runs();
  expect(apiToken({ address, isGiven: true }, { PERDURE_STATE_DIR: stateDir })).toBeUndefined();
  expect(apiToken({ address, isGiven: true }, { PERDURE_STATE_DIR: stateDir, PERDURE_TOKEN: OTHER })).toBe(OTHER);
});

test("a folder without a token has none to send, and an unusable one is told in words", () => {
  const empty = path.join(stateDir, "empty");
  expect(apiToken({ address: RUNNING, isGiven: false }, { PERDURE_STATE_DIR: empty })).toBeUndefined();
  writeFileSync(path.join(stateDir, "token"), "nonsense");
  expect(() => apiToken({ address: RUNNING, isGiven: false }, { PERDURE_STATE_DIR: stateDir })).toThrow(
    /remove it, and the next start makes a new one/,
  );
});

test("requests and streams carry it, and a redirect to elsewhere does not take it along", async () => {
  const seen: IncomingHttpHeaders[] = [];
  const elsewhere = createServer((request, response) => {
    seen.push(request.headers);
    response.end("{}");
  });
  const api = createServer((request, response) => {
    seen.push(request.headers);
    response.writeHead(302, { location: `http://127.0.0.1:${portOf(elsewhere)}/` }).end();
  });
  await Promise.all([api, elsewhere].map((one) => new Promise<void>((ok) => one.listen(0, "127.0.0.1", ok))));
  try {
    const client = new Client(`http://127.0.0.1:${portOf(api)}`, token);
    await expect(client.getSession("s")).rejects.toThrow();
    await expect(client.events("s", { after: 0, giveUpMs: 0 }).next()).rejects.toThrow();
    expect(seen.map(({ authorization }) => authorization)).toEqual([
      `Bearer ${token}`,
      undefined,
      `Bearer ${token}`,
      undefined,
    ]);
  } finally {
    for (const one of [api, elsewhere]) one.close();
  }
});

function portOf(server: ReturnType<typeof createServer>): number {
  return (server.address() as AddressInfo).port;
}
