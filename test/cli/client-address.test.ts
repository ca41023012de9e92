/** Where the client commands look for the API. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { apiAddress } from "../../cli/api-address.ts";
import { StateDirectory } from "../../cli/state-directory.ts";
import { ConfigError } from "../../contract/config.ts";

const RUNNING = "http://127.0.0.1:45678";
let stateDir: string;
beforeEach(() => {
  stateDir = mkdtempSync(path.join(tmpdir(), "perdure-address-"));
});
afterEach(() => rmSync(stateDir, { recursive: true }));

test("the stack of the state directory is found by what its supervisor writes there", () => {
  const state = StateDirectory.claim(stateDir);
  state.record([], RUNNING);

  expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toBe(RUNNING);
  expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir, PERDURE_PORT: "0" })).toBe(RUNNING);

  state.release();
  expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toBe("http://127.0.0.1:8700");
});

test("what is asked for goes before everything, and a port that is set before what runs", () => {
  writeFileSync(path.join(stateDir, "supervisor.json"), JSON.stringify({ apiUrl: RUNNING }));
  const env = { PERDURE_STATE_DIR: stateDir, PERDURE_PORT: "9000", PERDURE_HOST: "::1" };

  expect(apiAddress("http://elsewhere:1", env)).toBe("http://elsewhere:1");
  expect(apiAddress(undefined, env)).toBe("http://[::1]:9000");
});

test.each(["not json", "{}", '{"apiUrl":null}', '{"apiUrl":"no url"}'])(
  "a state directory that tells nothing (%s) leaves the configured address",
  (text) => {
    writeFileSync(path.join(stateDir, "supervisor.json"), text);

    expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toBe("http://127.0.0.1:8700");
  },
);

test("an environment that is not usable is refused by variable", () => {
  expect(() => apiAddress(undefined, { PERDURE_PORT: "many" })).toThrow(ConfigError);
});
