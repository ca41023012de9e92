/** The environment: defaults, every kind of wrong value, and that all of them are told at once. */
import { expect, test } from "vitest";
import { CONFIG_VARIABLES, ConfigError, readConfig, secretValues } from "../../contract/config.ts";

test("an empty environment gives the documented defaults", () => {
  expect(readConfig({})).toEqual({
    port: 8700,
    host: "127.0.0.1",
    apiUrl: undefined,
    stateDir: ".perdure",
    synchronous: "normal",
    auth: "token",
    token: undefined,
    model: "gpt-5",
    logLevel: "info",
    temporalAddress: undefined,
    temporalNamespace: "default",
    openaiApiKey: undefined,
    openaiBaseUrl: "https://api.openai.com/v1",
    copilotGithubToken: undefined,
    copilotProvider: undefined,
    toolModules: [],
    agentsFolder: undefined,
    secretsFile: undefined,
    downloadsAllow: [],
    sandbox: {
      provider: undefined,
      allowed: undefined,
      hostId: undefined,
      readOnly: [],
      image: "debian:12-slim",
      modal: { tokenId: undefined, tokenSecret: undefined, serverUrl: undefined, app: "perdure" },
    },
  });
});

test("an empty variable counts as one that is not set", () => {
  const empty = Object.fromEntries(CONFIG_VARIABLES.map((name) => [name, ""]));
  expect(readConfig(empty)).toEqual(readConfig({}));
});

test("an API that asks nobody for its token stays on the loopback", () => {
  expect(readConfig({ PERDURE_AUTH: "off" })).toMatchObject({ auth: "off", host: "127.0.0.1" });
  expect(() => readConfig({ PERDURE_AUTH: "off", PERDURE_HOST: "0.0.0.0" })).toThrow(
    /PERDURE_HOST: expected a loopback/,
  );
  expect(() => readConfig({ PERDURE_AUTH: "no" })).toThrow(/PERDURE_AUTH: expected token, or off; got "no"/);
});

test("port 0, IPv6 loopback and a bracketed Temporal address are taken", () => {
  const config = readConfig({ PERDURE_PORT: "0", PERDURE_HOST: "::1", TEMPORAL_ADDRESS: "[::1]:7233" });
  expect(config).toMatchObject({ port: 0, host: "::1", temporalAddress: "[::1]:7233" });
});

test.each([
  ["PERDURE_PORT", "70000"],
  ["PERDURE_PORT", "-1"],
  ["PERDURE_PORT", "8700x"],
  ["PERDURE_PORT", "1e3"],
  ["PERDURE_HOST", "0.0.0.0"],
  ["PERDURE_HOST", "example.com"],
  ["PERDURE_HOST", "127.0.0.1.example.com"],
  ["PERDURE_LOG_LEVEL", "loud"],
  ["PERDURE_TEMPORAL_SHA256", "latest"],
  ["TEMPORAL_ADDRESS", "localhost"],
  ["TEMPORAL_ADDRESS", "localhost:99999"],
  ["TEMPORAL_ADDRESS", "http://localhost:7233"],
  ["OPENAI_BASE_URL", "file:///etc/passwd"],
  ["OPENAI_BASE_URL", "api.openai.com"],
  ["PERDURE_DOWNLOADS_ALLOW", "http://files.internal"],
  ["PERDURE_DOWNLOADS_ALLOW", "files.internal,10.0.0.5:99999"],
])("%s=%s is refused, with its name and what came", (name, value) => {
  expect(() => readConfig({ [name]: value })).toThrow(new RegExp(`${name}: expected .*; got "`));
});

test("every wrong variable is named in one error", () => {
  const wrong = { PERDURE_PORT: "x", PERDURE_HOST: "0.0.0.0", OPENAI_BASE_URL: "y", OPENAI_API_KEY: "sk-secret" };

  const error = thrown(() => readConfig(wrong));

  expect(error).toBeInstanceOf(ConfigError);
  expect(String(error)).toMatch(/PERDURE_PORT[\s\S]*PERDURE_HOST[\s\S]*OPENAI_BASE_URL/);
  expect(String(error)).not.toContain("sk-secret");
});

test("hosts of downloads are listed with commas", () => {
  const { downloadsAllow } = readConfig({ PERDURE_DOWNLOADS_ALLOW: "files.internal, 10.0.0.5:8080,*.lan,[::1]:80," });
  expect(downloadsAllow).toEqual(["files.internal", "10.0.0.5:8080", "*.lan", "[::1]:80"]);
});

test("modules of tools are listed as PATH lists folders", () => {
  expect(readConfig({ PERDURE_TOOLS: "./a.ts::/b/c.js:" }).toolModules).toEqual(["./a.ts", "/b/c.js"]);
});

test("the values of keys, tokens and passwords are secrets, and others and short ones are not", () => {
  const env = {
    OPENAI_API_KEY: "sk-scripted",
    COPILOT_GITHUB_TOKEN: "gho_scripted",
    WEATHER_API_KEY: "0123456789",
    DATABASE_PASSWORD: "correct horse",
    SHORT_TOKEN: "1",
    PERDURE_SECRET_GREETING: "hello there",
    UNSET_SECRET: undefined,
    HOME: "/home/somebody",
    KEYBOARD: "qwertyuiop",
  };

  expect(secretValues(env)).toEqual(["sk-scripted", "gho_scripted", "0123456789", "correct horse", "hello there"]);
});

function thrown(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
