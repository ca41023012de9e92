/** The provider `modal` when Modal fails: what was asked for happened once, nothing of it is missing, or a loss is said. */
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { createModalProvider } from "../../sandbox/modal.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { placeProblem } from "../support/modal-place.ts";
import { modalOptions } from "../support/modal-provider.ts";
import { type ModalStandIn, startModalStandIn } from "../support/modal-stand-in.ts";
import { lines, newCallId, run, text, watch } from "./commands.ts";
import { inOtherProcess } from "./other-process.ts";

const problem = await placeProblem();

describe.skipIf(problem)(`modal that fails${problem ? `: ${problem}` : ""}`, { timeout: 60_000 }, () => {
  let standIn: ModalStandIn;
  const opened: Sandbox[] = [];
  const provider = () => createModalProvider(modalOptions(standIn));
  const newId = (): SandboxId => `sbx_${randomUUID()}`;
  const running = () => standIn.sandboxes().filter(({ result }) => !result);
  async function open(id = newId()): Promise<Sandbox> {
    const sandbox = await provider().open(id);
    opened.push(sandbox);
    return sandbox;
  }

  beforeAll(async () => {
    standIn = await startModalStandIn();
  });
  afterEach(async () => {
    standIn.faults.forget();
    for (const sandbox of opened.splice(0)) await sandbox[Symbol.asyncDispose]();
    while (await standIn.kill());
  });
  afterAll(async () => await standIn[Symbol.asyncDispose]());

  test("a create that is unavailable twice makes one sandbox", async () => {
    standIn.faults.add({ rpc: "SandboxCreateV2", status: "UNAVAILABLE", times: 2 });

    const sandbox = await open();

    expect(text((await run(sandbox, "echo up")).stdout)).toBe("up\n");
    expect(running()).toHaveLength(1);
  });

  test("a create whose answer is lost is adopted, not repeated", async () => {
    standIn.faults.add({ rpc: "SandboxCreateV2", status: "UNAVAILABLE", when: "after" });

    const sandbox = await open();

    expect(text((await run(sandbox, "echo up")).stdout)).toBe("up\n");
    expect(standIn.faults.seen("SandboxCreateV2")).toBe(2);
    expect(running()).toHaveLength(1);
  });

  test("a create that fails for good says so, and the next open of the same id goes well", async () => {
    const id = newId();
    standIn.faults.add({ rpc: "SandboxCreateV2", status: "UNAVAILABLE", times: 4 });
    await expect(open(id)).rejects.toMatchObject({
      kind: "failed",
      message: expect.stringMatching(/cannot be reached/),
    });

    expect(text((await run(await open(id), "echo up")).stdout)).toBe("up\n");
  });

  test("a sandbox whose makers were killed at any instant is made once and is whole", async () => {
    const id = newId();
    for (const afterMs of [350, 450, 550]) {
      const other = inOtherProcess({ elsewhere: { provider: "modal", options: modalOptions(standIn) }, sandboxId: id });
      await new Promise((resolve) => setTimeout(resolve, afterMs + Math.random() * 100)); // The random instant, not a wait.
      other.kill();
      await other.done;
    }

    expect(text((await run(await open(id), "pwd")).stdout)).toBe("/workspace\n");
    expect(running()).toHaveLength(1);
  });

  test("a task that is known late is waited for", async () => {
    standIn.faults.add({ rpc: "SandboxGetTaskIdV2", empty: true, times: 2 });

    expect(text((await run(await open(), "echo up")).stdout)).toBe("up\n");
  });

  test("a refused token says what to set", async () => {
    const refused = createModalProvider({ ...modalOptions(standIn), tokenSecret: "as-another" });

    await expect(refused.open(newId())).rejects.toMatchObject({
      kind: "failed",
      message: expect.stringMatching(/MODAL_TOKEN_ID and MODAL_TOKEN_SECRET/),
    });
    await expect(refused.list()).rejects.toMatchObject({ kind: "failed" });
  });

  test("a used-up quota says so, and nothing is made", async () => {
    standIn.faults.add({ rpc: "SandboxCreateV2", status: "RESOURCE_EXHAUSTED", times: 9 });

    await expect(open()).rejects.toMatchObject({ kind: "failed", message: expect.stringMatching(/quota/) });
    expect(running()).toHaveLength(0);
  });

  test.each([
    ["start that is unavailable three times", { rpc: "TaskExecStart", status: "UNAVAILABLE", times: 3 }],
    ["start whose answer is lost", { rpc: "TaskExecStart", status: "UNAVAILABLE", when: "after" }],
    ["start whose token has run out", { rpc: "TaskExecStart", status: "UNAUTHENTICATED" }],
    ["start by a router that knows it no more", { rpc: "TaskExecStart", status: "NOT_FOUND" }],
    ["input whose answer is lost", { rpc: "TaskExecStdinWrite", status: "UNAVAILABLE", when: "after", times: 2 }],
    ["output that is unavailable twice", { rpc: "TaskExecStdioRead", status: "UNAVAILABLE", times: 2 }],
    ["output whose token has run out", { rpc: "TaskExecStdioRead", status: "UNAUTHENTICATED" }],
  ] as const)("a command runs once and all of it is seen, with an exec's %s", async (_what, fault) => {
    const sandbox = await open();
    standIn.faults.add(fault);

    const ran = await run(sandbox, "echo x >> effects; echo out; echo err >&2; exit 3");

    expect(ran.end).toMatchObject({ ended: "exited", exitCode: 3 });
    expect([text(ran.stdout), text(ran.stderr)]).toEqual(["out\n", "err\n"]);
    expect(lines(await sandbox.readFile("effects"))).toEqual(["x"]);
    expect(standIn.faults.awaits(fault.rpc)).toBe(false);
  });

  test.each([
    ["its input", "TaskExecStdinWrite"],
    ["its output", "TaskExecStdioRead"],
  ])(
    "a start whose shell is refused %s fails in words or goes well, and once again it has run once",
    async (_what, rpc) => {
      const sandbox = await open();
      const start = { callId: newCallId(), command: "echo x >> effects", timeoutMs: 5_000 };
      standIn.faults.add({ rpc, status: "FAILED_PRECONDITION" });

      await sandbox
        .start(start)
        .catch((error: unknown) =>
          expect(error).toMatchObject({ kind: "failed", message: expect.stringMatching(/Modal could not/) }),
        );
      await sandbox.start(start);

      expect((await watch(sandbox, start.callId)).end).toMatchObject({ exitCode: 0 });
      expect(lines(await sandbox.readFile("effects"))).toEqual(["x"]);
    },
  );

  test.each([1, 33, 1_000, 65_537, 300_000])(
    "output is whole when its stream is dropped at byte %i",
    async (afterBytes) => {
      const sandbox = await open();
      standIn.faults.add({ rpc: "TaskExecStdioRead", afterBytes, times: 2 });

      const ran = await run(sandbox, "echo x >> effects; seq 1 100000");

      expect(text(ran.stdout)).toBe(Array.from({ length: 100_000 }, (_, at) => `${at + 1}\n`).join(""));
      expect(lines(await sandbox.readFile("effects"))).toEqual(["x"]);
    },
  );

  test("a file that is written over lost answers is what was given", async () => {
    const sandbox = await open();
    const content = Buffer.from(Array.from({ length: 2_000_000 }, (_, at) => (at * 7) % 251));
    standIn.faults.add({ rpc: "TaskExecStdinWrite", status: "UNAVAILABLE", when: "after", times: 3 });

    await sandbox.writeFile("big", content);

    expect(Buffer.compare(await sandbox.readFile("big"), content)).toBe(0);
  });

  test("a sandbox that is killed in mid-command is said to be lost, to who follows and to who comes", async () => {
    const sandbox = await open();
    const callId = newCallId();
    await sandbox.start({ callId, command: "echo up; sleep 60", timeoutMs: 70_000 });
    const following = watch(sandbox, callId).catch((error: unknown) => error);
    await watch(sandbox, callId, { until: "up\n" });

    await standIn.kill();

    expect(await following).toMatchObject({ name: "SandboxError", kind: "lost" });
    const start = { callId: newCallId(), command: "true", timeoutMs: 1_000 };
    await expect(sandbox.start(start)).rejects.toMatchObject({ kind: "lost" });
    expect(await provider().find(sandbox.id)).toBeUndefined();
  });

  test("a sandbox that is gone while the router does not answer is said to be lost", async () => {
    const sandbox = await open();
    standIn.faults.add({ rpc: "TaskExecStart", hangs: true });
    const starting = sandbox.start({ callId: newCallId(), command: "true", timeoutMs: 1_000 });
    const outcome = starting.catch((error: unknown) => error);

    await standIn.kill();

    expect(await outcome).toMatchObject({ kind: "lost" });
  });

  test("a handle that was given back is of no use, and the sandbox goes on", async () => {
    const id = newId();
    const sandbox = await provider().open(id);
    const { callId } = await run(sandbox, "echo kept");
    await sandbox[Symbol.asyncDispose]();

    await expect(sandbox.stat("a")).rejects.toMatchObject({ kind: "failed" });
    const again = await provider().find(id);
    if (again === undefined) throw new Error("it is gone");
    opened.push(again);
    expect(text((await watch(again, callId)).stdout)).toBe("kept\n");
  });

  test("a removal that is unavailable at first is made, and one whose answer is lost too", async () => {
    const [one, two] = [newId(), newId()];
    await open(one);
    await open(two);

    standIn.faults.add({ rpc: "SandboxTerminateV2", status: "UNAVAILABLE", times: 2 });
    await provider().remove(one);
    standIn.faults.add({ rpc: "SandboxTerminateV2", status: "UNAVAILABLE", when: "after" });
    await provider().remove(two);

    expect(running()).toEqual([]);
  });
});
