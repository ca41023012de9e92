/** Downloads at the API's edge: what reaches a worker, by which way, and what is refused before one is asked. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { WorkspaceProblem } from "../../contract/workspace.ts";
import { closeSession } from "../../store/session-closing.ts";
import { ApiWorld } from "../support/api-world.ts";

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
  world.sessions.orders.length = 0;
});

const url = "https://files.example/a.tgz?key=hidden";
const post = (json: unknown, headers = {}) => world.call(`POST /v1/sessions/${id}/downloads`, { json, headers });

test("what is asked for reaches the worker by way of the transit, so that no address is in a history", async () => {
  world.sessions.answers.push({ found: "downloaded", bytes: 7, sha256: "a".repeat(64), files: 3 });

  const done = await post({ url, path: "in/to/", extract: true, sha256: "B".repeat(64), timeoutMs: 5_000 });

  expect(done).toMatchObject({
    status: 200,
    body: { path: "in/to", bytes: 7, sha256: "a".repeat(64), files: 3 },
  });
  expect(world.sessions.orders).toEqual([{ url, extract: true, sha256: "B".repeat(64), timeoutMs: 5_000 }]);
  expect(world.sessions.asked).toMatchObject([{ request: { operation: "download", path: "in/to", sessionId: id } }]);
  expect(JSON.stringify(world.sessions.asked)).not.toContain("hidden");
  expect(readdirSync(path.join(world.stateDir, "transit"))).toEqual([]);
});

test("without more it is a file, within the usual time", async () => {
  await post({ url, path: "f" });

  expect(world.sessions.orders).toEqual([{ url, extract: false, timeoutMs: LIMITS.downloadTimeoutMs.default }]);
});

test.each(["", "."])("an archive may go into the workspace itself, as %j", async (folder) => {
  expect(await post({ url, path: folder, extract: true })).toMatchObject({ status: 200, body: { path: "" } });
});

test("an Idempotency-Key goes with what is asked for, so that another body under it is told from the same one", async () => {
  for (const file of ["f", "f", "g"]) await post({ url, path: file }, { "idempotency-key": "k" });

  const [first, second, third] = world.sessions.asked.map(({ key }) => key);
  expect(first).toEqual(second);
  expect(third).toMatchObject({ name: first?.name });
  expect(third?.content).not.toBe(first?.content);
});

test.each<[string, object, string]>([
  ["no address", { path: "f" }, "/url"],
  ["what is no address", { url: "not an address", path: "f" }, "/url"],
  ["another scheme", { url: "ftp://files.example/a", path: "f" }, "/url"],
  ["a file of the host", { url: "file:///etc/passwd", path: "f" }, "/url"],
  ["data", { url: "data:,x", path: "f" }, "/url"],
  ["a user", { url: "https://user@files.example/", path: "f" }, "/url"],
  ["a password", { url: "https://:secret@files.example/", path: "f" }, "/url"],
  ["a long address", { url: `https://files.example/${"a".repeat(LIMITS.urlCharactersMax)}`, path: "f" }, "/url"],
  ["no path", { url }, "/path"],
  ["the workspace as a file", { url, path: "" }, "/path"],
  ["the root", { url, path: "/", extract: true }, "/path"],
  ["an absolute path", { url, path: "/etc/passwd" }, "/path"],
  ["..", { url, path: "a/../../b" }, "/path"],
  ["a NUL", { url, path: "a\0b" }, "/path"],
  ["a backslash", { url, path: "..\\b" }, "/path"],
  ["a short sum", { url, path: "f", sha256: "abc" }, "/sha256"],
  ["no time", { url, path: "f", timeoutMs: 0 }, "/timeoutMs"],
  ["too much time", { url, path: "f", timeoutMs: LIMITS.downloadTimeoutMs.max + 1 }, "/timeoutMs"],
  ["another field", { url, path: "f", headers: {} }, "/headers"],
])("%s is refused before a worker is asked", async (_name, body, where) => {
  const refused = await post(body);

  expect(refused).toMatchObject({ status: 400, body: { code: "INVALID_INPUT", errors: [{ path: where }] } });
  expect(JSON.stringify(refused.body)).not.toContain("secret");
  expect(world.sessions.asked).toEqual([]);
});

test.each<[WorkspaceProblem, number, boolean]>([
  ["FORBIDDEN", 403, false],
  ["CONFLICT", 409, false],
  ["PAYLOAD_TOO_LARGE", 413, false],
  ["ARCHIVE_REFUSED", 422, false],
  ["DOWNLOAD_FAILED", 502, true],
])("a worker's %s is a %i", async (code, status, retryable) => {
  world.sessions.answers.push({ found: "nothing", code, message: "in words" });

  expect(await post({ url, path: "f" })).toMatchObject({ status, body: { code, detail: "in words", retryable } });
});

test("a closed session takes none", async () => {
  await closeSession(world.store.database, id);

  expect(await post({ url, path: "f" })).toMatchObject({ status: 409, body: { code: "SESSION_CLOSED" } });
});
