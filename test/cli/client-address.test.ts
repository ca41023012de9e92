/** Where the client commands look for the API. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { apiAddress } from "../../cli/api-address.ts";
import { temporalOf } from "../../cli/running-stack.ts";
import { StateDirectory } from "../../cli/state-directory.ts";
import { ConfigError, readConfig } from "../../contract/config.ts";

const RUNNING = "http://127.0.0.1:45678";
const noStack = expect.objectContaining({ name: "ClientError", kind: "unreachable" });
let stateDir: string;
beforeEach(() => {
  stateDir = mkdtempSync(path.join(tmpdir(), "perdure-address-"));
});
afterEach(() => rmSync(stateDir, { recursive: true }));

test("the stack of the state directory is found by what its supervisor writes there", () => {
  const state = StateDirectory.claim(stateDir);
  state.record([], { apiUrl: RUNNING, temporal: { address: "127.0.0.1:7999", isOwn: true } });

  expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toBe(RUNNING);
  expect(apiAddress(undefined, { PERDURE_STATE_DIR: stateDir, PERDURE_PORT: "0" })).toBe(RUNNING);

  expect(temporalOf(readConfig({}), stateDir)).toBe("127.0.0.1:7999");

  state.release();
  expect(() => apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toThrow(noStack);
  expect(() => temporalOf(readConfig({}), stateDir)).toThrow(ConfigError);
});

test("what is asked for goes before everything, and a port that is set before what runs", () => {
  writeFileSync(path.join(stateDir, "supervisor.json"), JSON.stringify({ apiUrl: RUNNING }));
  const env = { PERDURE_STATE_DIR: stateDir, PERDURE_PORT: "9000", PERDURE_HOST: "::1" };

  expect(apiAddress("http://elsewhere:1", env)).toBe("http://elsewhere:1");
  expect(apiAddress(undefined, { ...env, PERDURE_URL: "http://other:2" })).toBe("http://other:2");
  expect(temporalOf(readConfig({ TEMPORAL_ADDRESS: "there:7" }), stateDir)).toBe("there:7");
  expect(apiAddress(undefined, env)).toBe("http://[::1]:9000");
});

test("what a killed supervisor left behind is nobody's address: another stack may have its port by now", () => {
  const left = { pid: process.pid, identity: "another start", apiUrl: RUNNING, temporal: null };
  writeFileSync(path.join(stateDir, "supervisor.json"), JSON.stringify(left));

  expect(() => apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toThrow(noStack);
});

test.each(["not json", "{}", '{"apiUrl":null}', '{"apiUrl":"no url"}'])(
  "a state directory that tells nothing (%s) leads to nobody else's API",
  (text) => {
    writeFileSync(path.join(stateDir, "supervisor.json"), text);

    expect(() => apiAddress(undefined, { PERDURE_STATE_DIR: stateDir })).toThrow(noStack);
  },
);

test("an environment that is not usable is refused by variable", () => {
  expect(() => apiAddress(undefined, { PERDURE_PORT: "many" })).toThrow(ConfigError);
});
