/** What is said when something is missing, and what validation does not do. */
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { createCopilotBackend } from "../../../backends/copilot/backend.ts";
import { installedPlatform } from "../../../backends/copilot/platform.ts";
import { BACKENDS } from "../../../backends/registry.ts";
import { BackendCapabilities } from "../../../contract/backends.ts";
import type { ModelEndpoint } from "../../support/model-endpoint.ts";
import { anInput, failureOf, Memory, scripted } from "../openai/step-builder.ts";
import { Conversation, KEY, startCopilotWorld } from "./step-builder.ts";

const NO_PLATFORM = installedPlatform("plan9-mips");

test("a platform without a runtime is told at validation and in the step, and the model is not called", async () => {
  await using world = await startCopilotWorld({ platform: NO_PLATFORM });

  const validation = await world.backend.validate();
  const error = await failureOf(world.backend.step(anInput(), new Memory(), new AbortController().signal));

  expect(validation).toMatchObject({ valid: false, errors: [{ code: "DEPENDENCY_MISSING" }] });
  expect(error).toMatchObject({ code: "DEPENDENCY_MISSING", retryable: false, isLost: false });
  expect(error.message).toContain("@github/copilot-sdk-plan9-mips");
  expect(world.model.requests).toEqual([]);
});

test("a program that is no runtime fails in words, and does not hang", async () => {
  const platform = { ...installedPlatform(), runtimePath: () => "/bin/false" };
  await using world = await startCopilotWorld({ platform });

  const error = await failureOf(world.backend.step(anInput(), new Memory(), new AbortController().signal));

  expect(error).toMatchObject({ code: "PROVIDER_ERROR", retryable: true, isLost: false });
  expect(error.message).toContain("did not start");
});

test("without credentials the words name both ways to set it up", async () => {
  const backend = createCopilotBackend({
    githubToken: undefined,
    provider: undefined,
    defaultModel: "m",
    scratchDir: "/nowhere",
    warn: () => undefined,
  });

  const { errors } = await backend.validate();

  expect(errors[0]?.code).toBe("AUTH_REQUIRED");
  for (const name of ["GITHUB_TOKEN", "PROVIDER_BASE_URL", "PROVIDER_API_KEY", "PROVIDER_WIRE_API"]) {
    expect(errors[0]?.message).toContain(`COPILOT_${name}`);
  }
});

test("a refused key is said to be the copilot backend's own variable", async () => {
  await using world = await startCopilotWorld();
  const input = anInput({ transcript: [scripted({ status: 401, text: "no" })] });

  const error = await failureOf(world.backend.step(input, new Memory(), new AbortController().signal));

  expect(error.message).toContain("check COPILOT_PROVIDER_API_KEY");
});

test("validation of a provider of one's own starts no runtime", async () => {
  await using world = await startCopilotWorld();

  expect(await world.backend.validate()).toEqual({ valid: true, errors: [] });
  expect(await world.runtimePids()).toEqual([]);
});

describe("what is at the provider's address is told at validation", () => {
  test.each([
    ["a list of models", 200, '{"data":[{"id":"a"},null,{"id":5},{"id":"b"}]}', undefined, ""],
    ["a list of something else", 200, "[]", "PROVIDER_NOT_FOUND", "no list of models; check COPILOT_PROVIDER_BASE_URL"],
    ["a web page", 200, "<h1>Welcome</h1>", "PROVIDER_NOT_FOUND", "no list of models; check COPILOT_PROVIDER_BASE_URL"],
    ["nothing", 404, "{}", "PROVIDER_NOT_FOUND", "(404)"],
    ["a door", 401, JSON.stringify({ error: { message: `not with ${KEY}` } }), "AUTH_INVALID", ": not with [key]"],
    ["a sign", 302, "", "PROVIDER_NOT_FOUND", "to https://elsewhere.example, which is not followed"],
  ])("%s", async (_, status, body, code, words) => {
    const headers = { location: "https://elsewhere.example/" };
    const server = createServer((_request, response) => response.writeHead(status, headers).end(body));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    try {
      await using world = await startCopilotWorld({ model: { url } as ModelEndpoint, wire: "anthropic" });
      const { valid, errors } = await world.backend.validate();

      expect({ valid, code: errors[0]?.code }).toEqual({ valid: code === undefined, code });
      expect(errors[0]?.message ?? "").toContain(words);
      if (valid) expect(await world.backend.listModels()).toEqual([{ id: "a" }, { id: "b" }]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

test("the registry's line is well formed and loads no SDK", async () => {
  const entry = BACKENDS.find((one) => one.name === "copilot");

  expect(BackendCapabilities.parse(entry?.capabilities)).toEqual(entry?.capabilities);
});

test("a killed worker leaves no runtime behind", async () => {
  await using world = await startCopilotWorld();
  const errand = {
    recipe: {
      module: import.meta.resolve("./step-builder.ts"),
      make: "backendAt",
      options: { url: world.model.url, scratchDir: world.scratchDir },
    },
    input: new Conversation().say(scripted({ text: "x".repeat(400), gapMs: 30 })).input(),
  };
  const program = fileURLToPath(import.meta.resolve("../backend-process.ts"));
  const worker = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit"] });
  worker.stdin.end(JSON.stringify(errand));
  await world.model.until(() => world.model.requests.length > 0, 20_000);
  const children = await readFile(`/proc/${worker.pid}/task/${worker.pid}/children`, "utf8");
  const [runtime = 0] = children.trim().split(" ").map(Number);
  expect(await readFile(`/proc/${runtime}/cmdline`, "utf8")).toContain("copilot-runtime");

  worker.kill("SIGKILL");

  await expect.poll(() => isAlive(runtime), { interval: 10, timeout: 2_000 }).toBe(false);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
