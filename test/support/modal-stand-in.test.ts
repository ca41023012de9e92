/** The Modal stand-in as a process of its own, as chaos runs it: its words, its control calls, and what is left of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createModalProvider } from "../../sandbox/modal.ts";
import type { SandboxProvider } from "../../sandbox/provider.ts";
import { eventually, run, text } from "../sandbox/commands.ts";
import { placeProblem } from "./modal-place.ts";

const problem = await placeProblem();

describe.skipIf(problem)(`the Modal stand-in alone${problem ? `: ${problem}` : ""}`, { timeout: 60_000 }, () => {
  let folder: string;
  let child: ChildProcess;
  let provider: SandboxProvider;
  let controlUrl: string;
  const call = async (name: string, body: object) =>
    (await fetch(`${controlUrl}/${name}`, { method: "POST", body: JSON.stringify(body) })).json();

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "perdure-modal-alone-"));
    const file = fileURLToPath(new URL("modal-stand-in.ts", import.meta.url));
    const alone = spawn(process.execPath, [file], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, TMPDIR: folder },
    });
    child = alone;
    const [line] = await once(createInterface(alone.stdout), "line");
    const { url, tokenId, tokenSecret, ...rest } = JSON.parse(String(line)) as Record<string, string>;
    controlUrl = rest["controlUrl"] ?? "";
    const account = { serverUrl: url ?? "", tokenId: tokenId ?? "", tokenSecret: tokenSecret ?? "" };
    provider = createModalProvider({ ...account, app: "perdure-tests", owner: "alone" });
  });
  afterEach(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(folder, { recursive: true, force: true });
  });

  const runs = (words: string) =>
    readdirSync("/proc").some((name) => /^\d+$/.test(name) && commandLine(name) === words);
  /** No other process of this machine has these words. */
  const aSleep = () => `sleep 6${Math.random()}`;

  test("its sandboxes are listed, fail on order, and are killed by a call", async () => {
    await using sandbox = await provider.open("sbx_alone");
    await call("faults", { rpc: "TaskExecStart", status: "UNAVAILABLE", times: 2 });
    expect(text((await run(sandbox, "echo up")).stdout)).toBe("up\n");
    const listed = (await (await fetch(`${controlUrl}/sandboxes`)).json()) as { name: string; runs: boolean }[];
    expect(listed).toEqual([expect.objectContaining({ runs: true, name: expect.stringMatching(/^sbx_alone-/) })]);

    expect(await call("kill", { name: "of another" })).toEqual({ killed: false });
    expect(await call("kill", { name: listed[0]?.name })).toEqual({ killed: true });

    await expect(sandbox.stat(".")).rejects.toMatchObject({ kind: "lost" });
    expect(await call("kill", {})).toEqual({ killed: false });
    expect((await fetch(`${controlUrl}/another`)).status).toBe(404);
  });

  test("at the end of its input it ends, and leaves no process and no folder", async () => {
    await using sandbox = await provider.open("sbx_alone");
    const daemon = aSleep();
    await run(sandbox, `setsid ${daemon} & echo up`);
    await eventually(() => runs(daemon), "the daemon runs");

    child.stdin?.end();
    await once(child, "exit");

    expect(child.exitCode).toBe(0);
    await eventually(() => !runs(daemon), "the daemon is gone");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("killed, it leaves no process", async () => {
    await using sandbox = await provider.open("sbx_alone");
    const daemon = aSleep();
    await run(sandbox, `setsid ${daemon} & echo up`);
    await eventually(() => runs(daemon), "the daemon runs");

    child.kill("SIGKILL");

    await eventually(() => !runs(daemon), "the daemon is gone");
  });
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").join(" ").trim();
  } catch {
    return "";
  }
}
