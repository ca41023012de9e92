/** The API as a process of its own: it starts without Temporal, says when it listens, and ends in order. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { chmodSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { bearer } from "../../cli/client.ts";
import { LIMITS } from "../../contract/limits.ts";
import { readToken, tokenFile } from "../../store/api-token.ts";
import { until } from "../support/api-world.ts";
import { openStream } from "../support/sse-reader.ts";

/** Nothing listens on this port of the loopback: it is one that only root may take. */
const NO_TEMPORAL = "127.0.0.1:1";

class ApiProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly stateDir: string;
  stderr = "";

  constructor(stateDir: string, env: Record<string, string>) {
    this.stateDir = stateDir;
    const environment = {
      PERDURE_STATE_DIR: stateDir,
      PERDURE_PORT: "0",
      TEMPORAL_ADDRESS: NO_TEMPORAL,
      PERDURE_LOG_LEVEL: "silent",
    };
    this.child = fork(path.resolve("api/main.ts"), {
      env: {
        PATH: process.env["PATH"] ?? "",
        NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
        ...environment,
        ...env,
      },
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  static async start(env: Record<string, string> = {}): Promise<ApiProcess> {
    return new ApiProcess(await mkdtemp(path.join(tmpdir(), "perdure-process-")), env);
  }

  async url(): Promise<string> {
    const [message] = (await once(this.child, "message")) as [{ type: string; port: number }];
    expect(message.type).toBe("ready");
    return `http://127.0.0.1:${message.port}`;
  }

  /** With the token that the process has made. */
  get headers(): Record<string, string> {
    return { ...bearer(readToken(this.stateDir)) };
  }

  async exitCode(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, "exit");
    return this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill("SIGKILL");
      await once(this.child, "exit");
    }
    await rm(this.stateDir, { recursive: true, force: true });
  }
}

const create = (url: string, { headers }: ApiProcess): Promise<Response> =>
  fetch(`${url}/v1/sessions`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: '{"id":"s1"}',
  });

describe("the token", () => {
  test("is made at the first start, survives a kill, and is asked for on the loopback", async () => {
    await using first = await ApiProcess.start();
    const url = await first.url();
    const { headers } = first;
    const list = (at: string, init: RequestInit = {}) => fetch(`${at}/v1/sessions`, init).then(({ status }) => status);
    expect([await list(url), await list(url, { headers })]).toEqual([401, 200]);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    await using second = new ApiProcess(first.stateDir, {});
    expect(await list(await second.url(), { headers })).toBe(200);
  });

  test("is neither made nor asked for with PERDURE_AUTH=off", async () => {
    await using api = await ApiProcess.start({ PERDURE_AUTH: "off" });
    expect((await fetch(`${await api.url()}/v1/sessions`)).status).toBe(200);
    expect(readToken(api.stateDir)).toBeUndefined();
  });

  test("that others may read ends the process as one that cannot be used", async () => {
    await using api = await ApiProcess.start();
    await api.url();
    chmodSync(tokenFile(api.stateDir), 0o644);
    await using next = new ApiProcess(api.stateDir, {});
    expect(await next.exitCode()).toBe(78);
    expect(next.stderr).toContain(`chmod 600 ${tokenFile(api.stateDir)}`);
  });
});

describe("starting", () => {
  test("it serves while Temporal is away, and says that it is not ready", async () => {
    await using api = await ApiProcess.start();
    const url = await api.url();

    const [health, ready] = await Promise.all([fetch(`${url}/healthz`), fetch(`${url}/readyz`)]);

    expect([health.status, ready.status]).toEqual([200, 503]);
    expect(await ready.json()).toMatchObject({ code: "UNAVAILABLE", errors: [{ path: "/checks/temporal" }] });
  });

  test("a port that is taken is one clear line and exit 1", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    await using api = await ApiProcess.start({ PERDURE_PORT: String(port) });

    const code = await api.exitCode();
    taken.close();

    expect(code).toBe(1);
    expect(api.stderr).toBe(
      `perdure api: port ${port} is taken by another process; stop it, or set PERDURE_PORT to another one (0 takes any free one)\n`,
    );
  });

  test("a wrong environment is words and exit 78", async () => {
    await using api = await ApiProcess.start({ PERDURE_HOST: "0.0.0.0" });

    expect(await api.exitCode()).toBe(78);
    expect(api.stderr).toContain("PERDURE_HOST");
    expect(api.stderr).not.toContain("    at ");
  });

  test("a state directory that cannot be made is words and exit 1", async () => {
    await using api = await ApiProcess.start({ PERDURE_STATE_DIR: "/dev/null/state" });

    expect(await api.exitCode()).toBe(1);
    expect(api.stderr).toMatch(/^perdure api: .*\n$/);
  });
});

describe("ending", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s ends open streams in words, and exits 0", async (signal) => {
    await using api = await ApiProcess.start();
    const url = await api.url();
    expect((await create(url, api)).status).toBe(201);
    using stream = await openStream(`${url}/v1/sessions/s1/events`, api.headers);
    await stream.frame(1);

    api.child.kill(signal);
    await stream.ended;

    expect(stream.comments.join()).toContain("going down");
    expect(await api.exitCode()).toBe(0);
  });

  test("a request that waits for Temporal is answered, not cut", async () => {
    await using api = await ApiProcess.start();
    const url = await api.url();
    await create(url, api);
    using stream = await openStream(`${url}/v1/sessions/s1/events`, api.headers);
    const startedAt = Date.now();
    const posting = fetch(`${url}/v1/sessions/s1/messages?wait=1m`, {
      method: "POST",
      headers: { ...api.headers, "content-type": "application/json" },
      body: '{"content":"hello"}',
    });
    await until(() => stream.frames.some((frame) => frame.data["type"] === "message.received"));

    api.child.kill("SIGTERM");

    expect((await posting).status).toBe(202);
    expect(await api.exitCode()).toBe(0);
    // The call would have waited a minute. The process's own start and end are in it, on whatever machine this is.
    expect(Date.now() - startedAt).toBeLessThan(LIMITS.drainMs + 15_000);
  });

  test("a parent that is gone ends it too", async () => {
    await using api = await ApiProcess.start();
    await api.url();

    api.child.disconnect();

    expect(await api.exitCode()).toBe(0);
  });

  test("a killed process is back with every event, and the stream goes on where it was", async () => {
    const first = await ApiProcess.start();
    await using _first = first;
    const url = await first.url();
    await create(url, first);
    first.child.kill("SIGKILL");
    await once(first.child, "exit");

    const startedAt = Date.now();
    const second = new ApiProcess(first.stateDir, { PERDURE_PORT: new URL(url).port });
    await using _second = second;
    using stream = await openStream(`${await second.url()}/v1/sessions/s1/events`, second.headers);
    await stream.frame(1);

    // Alone it is about a quarter of a second; bench/recovery.ts measures it.
    expect(Date.now() - startedAt).toBeLessThan(15_000);
  });
});
