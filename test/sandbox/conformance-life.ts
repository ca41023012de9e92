/** Conformance: a sandbox is made once, found, lost and removed. */
import { randomUUID } from "node:crypto";
import { describe, expect } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { beats, bytes, newCallId, run, startedCommand, text, watch } from "./commands.ts";
import type { ConformanceTest } from "./conformance.ts";

export function describeLife(test: ConformanceTest): void {
  describe("life", () => {
    test("opening twice gives the same sandbox with its files", async ({ given }) => {
      const { provider, sandbox } = given;
      await sandbox.writeFile("note.txt", bytes("kept"));

      const again = await provider.open(sandbox.id);

      expect(text(await again.readFile("note.txt"))).toBe("kept");
      expect(again.workspace).toBe(sandbox.workspace);
      await again[Symbol.asyncDispose]();
    });

    test("opening at once many times gives one sandbox", async ({ given }) => {
      const { provider } = given;
      const id: SandboxId = `sbx_${randomUUID()}`;

      const all = await Promise.all(Array.from({ length: 10 }, () => provider.open(id)));

      await all[0]?.writeFile("a", bytes("1"));
      expect(text((await all[9]?.readFile("a")) ?? bytes(""))).toBe("1");
      await Promise.all(all.map((one) => one[Symbol.asyncDispose]()));
      await provider.remove(id);
    });

    test("a sandbox is found while it is there, and finding makes none", async ({ given }) => {
      const { provider, sandbox } = given;

      const found = await provider.find(sandbox.id);

      expect(found?.workspace).toBe(sandbox.workspace);
      await found?.[Symbol.asyncDispose]();
      expect(await provider.find("sbx_never_opened")).toBeUndefined();
      expect(await provider.find("sbx_never_opened")).toBeUndefined();
    });

    test("those that are there are listed, with the time when they were made", async ({ given }) => {
      const { provider, sandbox } = given;

      const mine = (await provider.list()).filter(({ id }) => id === sandbox.id);

      expect(mine).toEqual([{ id: sandbox.id, madeAt: mine[0]?.madeAt }]);
      if (mine[0]?.madeAt !== undefined) expect(Math.abs(Date.now() - mine[0].madeAt)).toBeLessThan(120_000);
    });

    test("removing a missing sandbox is not an error", async ({ given }) => {
      await given.provider.remove("sbx_never_opened");
    });

    test("an id that is a path is refused", async ({ given }) => {
      const hostile = "sbx_../../etc" as SandboxId;

      await expect(given.provider.open(hostile)).rejects.toMatchObject({ kind: "denied" });
      await expect(given.provider.remove(hostile)).rejects.toMatchObject({ kind: "denied" });
    });

    test("after its removal every use of a sandbox says that it is lost, and brings nothing back", async ({
      given,
    }) => {
      const { provider, sandbox } = given;
      const { callId } = await run(sandbox, "echo before");
      await provider.remove(sandbox.id);

      const lost = { name: "SandboxError", kind: "lost" };
      const start = { callId: newCallId(), command: "echo x", timeoutMs: 1_000 };
      await expect(sandbox.start(start)).rejects.toMatchObject(lost);
      await expect(sandbox.readFile("a")).rejects.toMatchObject(lost);
      await expect(sandbox.writeFile("a", bytes("1"))).rejects.toMatchObject(lost);
      await expect(sandbox.removeFile("a")).rejects.toMatchObject(lost);
      await expect(sandbox.stat(".")).rejects.toMatchObject(lost);
      await expect(sandbox.listFiles(".", { depth: 1, max: 1 })).rejects.toMatchObject(lost);
      await expect(sandbox.scan({ skip: () => false, max: 9 })).rejects.toMatchObject(lost);
      const events = sandbox.follow(callId, { stdout: 0, stderr: 0 }, AbortSignal.timeout(20_000));
      await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject(lost);
      await sandbox.kill(callId);
      expect(await provider.find(sandbox.id)).toBeUndefined();
      expect((await provider.list()).map(({ id }) => id)).not.toContain(sandbox.id);
    });

    test("a sandbox that is killed in mid-command is lost, and its id gives a new one", async ({ given, skip }) => {
      const { provider, sandbox, killSandbox } = given;
      skip(killSandbox === undefined, "nobody outside can kill sandboxes of this provider");
      const callId = await startedCommand(sandbox, `printf x >> beat; echo up; ${beats("beat")}`);
      const watching = watch(sandbox, callId).then(({ end }) => end?.ended, kindOf);

      await killSandbox?.(sandbox.id);

      expect(["unknown", "lost"]).toContain(await watching);
      const start = { callId: newCallId(), command: "echo x", timeoutMs: 1_000 };
      await expect(sandbox.start(start)).rejects.toMatchObject({ name: "SandboxError", kind: "lost" });
      expect(await provider.find(sandbox.id)).toBeUndefined();
      const next = await provider.open(sandbox.id);
      expect(await next.stat("beat")).toBeUndefined();
      expect(text((await run(next, "echo again")).stdout)).toBe("again\n");
      await next[Symbol.asyncDispose]();
    });
  });
}

function kindOf(thrown: unknown): unknown {
  return thrown instanceof Error && "kind" in thrown ? thrown.kind : thrown;
}
