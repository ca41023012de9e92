/** Conformance: how commands end, by themselves, by timeout, by kill, and when nobody can know. */
import { describe, expect } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import {
  beats,
  eventually,
  expectBeat,
  expectStill,
  newCallId,
  processesWith,
  run,
  startedCommand,
  text,
  watch,
} from "./commands.ts";
import type { ConformanceTest } from "./conformance.ts";

export function describeEnds(test: ConformanceTest): void {
  describe("end", () => {
    test("an exit code is told", async ({ given }) => {
      expect((await run(given.sandbox, "exit 3")).end).toMatchObject({ ended: "exited", exitCode: 3 });
      expect((await run(given.sandbox, "no-such-program")).end).toMatchObject({ ended: "exited", exitCode: 127 });
      expect((await run(given.sandbox, "if")).end).toMatchObject({ ended: "exited", exitCode: 2 });
    });

    test("the signal that ended a command is told", async ({ given }) => {
      expect((await run(given.sandbox, "kill -9 $$")).end).toMatchObject({ ended: "signalled", signal: "SIGKILL" });
    });

    test("a command that signals its whole group still leaves its end", async ({ given }) => {
      const ran = await run(given.sandbox, "trap 'kill 0' EXIT; sleep 30 & echo here");

      expect(text(ran.stdout)).toBe("here\n");
      expect(ran.end?.ended).toMatch(/exited|signalled/);
    });

    test("the duration is measured", async ({ given }) => {
      const { end } = await run(given.sandbox, "sleep 0.3");

      expect(end).toMatchObject({ ended: "exited", durationMs: expect.any(Number) });
      if (end?.ended === "exited") expect(end.durationMs).toBeGreaterThanOrEqual(280);
      if (end?.ended === "exited") expect(end.durationMs).toBeLessThan(8_000);
    });

    test("a timeout ends the command and what it started, and keeps what was printed", async ({ given }) => {
      const { sandbox } = given;

      const ran = await run(sandbox, `echo before; (${beats("child")}) & wait`, { timeoutMs: 2_000 });

      expect(ran.end).toMatchObject({ ended: "timed_out" });
      expect(text(ran.stdout)).toBe("before\n");
      await expectStill(sandbox, "child");
    });

    test("a timeout ends a command that ignores TERM", async ({ given }) => {
      const { sandbox } = given;

      const ran = await run(sandbox, `trap '' TERM; ${beats("self")}`, { timeoutMs: 2_000 });

      expect(ran.end).toMatchObject({ ended: "timed_out" });
      await expectStill(sandbox, "self");
    });

    test("a kill ends the whole tree without waiting for its grace, and tells so", async ({ given }) => {
      const { sandbox } = given;
      const callId = await startedCommand(sandbox, `(${beats("child")}) & sh -c '${beats("deep")}' & echo up; wait`);
      await Promise.all([expectBeat(sandbox, "child"), expectBeat(sandbox, "deep")]);

      const at = Date.now();
      await sandbox.kill(callId);

      expect(Date.now() - at).toBeLessThan(LIMITS.killGraceMs);
      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      await Promise.all([expectStill(sandbox, "child"), expectStill(sandbox, "deep")]);
    });

    test("a kill ends a command that ignores TERM", async ({ given }) => {
      const { sandbox } = given;
      const callId = await startedCommand(sandbox, `trap '' TERM; echo up; ${beats("self")}`);
      await expectBeat(sandbox, "self");

      await sandbox.kill(callId);

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      await expectStill(sandbox, "self");
    });

    test("a command that handles TERM may say goodbye", async ({ given }) => {
      const { sandbox } = given;
      const callId = await startedCommand(
        sandbox,
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
      );

      await sandbox.kill(callId);

      const watched = await watch(sandbox, callId);
      expect(text(watched.stdout)).toBe("up\nbye\n");
      expect(watched.end).toMatchObject({ ended: "killed" });
    });

    test("a kill that comes before the start prevents it", async ({ given }) => {
      const { sandbox } = given;
      const callId = newCallId();

      await sandbox.kill(callId);
      await sandbox.start({ callId, command: "touch ran", timeoutMs: 5_000 });

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      expect(await sandbox.stat("ran")).toBeUndefined();
    });

    test("a kill that races the start leaves nothing running", async ({ given }) => {
      const { sandbox } = given;
      const races = Array.from({ length: 10 }, newCallId).map(async (callId) => {
        const start = sandbox.start({ callId, command: "sleep 60", timeoutMs: 70_000 });
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 6)); // The random instant, not a wait.
        await Promise.all([start, sandbox.kill(callId)]);
        return (await watch(sandbox, callId)).end;
      });

      for (const end of await Promise.all(races)) expect(end).toMatchObject({ ended: "killed" });
    });

    test("a kill after the end changes nothing, and one of a call that never was is no error", async ({ given }) => {
      const { sandbox } = given;
      const { callId } = await run(sandbox, "exit 4");

      await Promise.all([sandbox.kill(callId), sandbox.kill(callId), sandbox.kill(newCallId())]);

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "exited", exitCode: 4 });
    });

    test("a kill after the end ends what the command left in its group", async ({ given }) => {
      const { sandbox } = given;
      const { callId, end } = await run(sandbox, `(${beats("child")}) &`);
      expect(end).toMatchObject({ ended: "exited", exitCode: 0 });
      await expectBeat(sandbox, "child");

      await sandbox.kill(callId);

      await expectStill(sandbox, "child");
    });

    test("a forked daemon that keeps the output open neither keeps the command from ending nor ends with it", async ({
      given,
    }) => {
      const { sandbox } = given;

      const ran = await run(sandbox, `(exec setsid sh -c '${beats("daemon")}') & echo started`);

      expect(ran.end).toMatchObject({ ended: "exited", exitCode: 0 });
      expect(text(ran.stdout)).toBe("started\n");
      const size = async () => (await sandbox.stat("daemon"))?.bytes ?? 0;
      await eventually(async () => (await size()) > 0, "the daemon runs");
      const before = await size();
      await eventually(async () => (await size()) > before + 3, "the daemon goes on");
    });

    test("removing the sandbox ends commands and daemons", async ({ given }) => {
      const { provider, sandbox } = given;
      const mark = `8${Math.floor(Math.random() * 1e8)}`;
      await run(sandbox, `(exec setsid sh -c 'echo up > daemon; exec sleep ${mark}') & echo started`);
      await startedCommand(sandbox, `trap '' TERM; echo up; while :; do sleep ${mark}; done`);
      await eventually(async () => (await sandbox.stat("daemon"))?.bytes === 3, "the daemon is up");

      await provider.remove(sandbox.id);

      await eventually(() => processesWith(mark).length === 0, "all processes are gone");
    });

    test("the end of a command whose processes were killed from outside is unknown", async ({ given, skip }) => {
      const { sandbox, killCommand } = given;
      skip(killCommand === undefined, "nobody outside can kill processes of this provider's sandboxes");
      const callId = await startedCommand(sandbox, `printf x >> self; echo up; ${beats("self")}`);

      await killCommand?.(sandbox, callId);

      const watched = await watch(sandbox, callId);
      expect(watched.end).toEqual({ ended: "unknown" });
      expect(text(watched.stdout)).toBe("up\n");
      await expectStill(sandbox, "self");
      await sandbox.start({ callId, command: "touch again", timeoutMs: 1_000 });
      expect(await sandbox.stat("again")).toBeUndefined();
    });

    test("a command whose supervisor alone was killed is ended too, as nobody would see its end", async ({
      given,
      skip,
    }) => {
      const { sandbox, killSupervisor } = given;
      skip(killSupervisor === undefined, "nobody outside can kill processes of this provider's sandboxes");
      const callId = await startedCommand(sandbox, `printf x >> self; echo up; ${beats("self")}`);

      await killSupervisor?.(sandbox, callId);

      expect((await watch(sandbox, callId)).end).toEqual({ ended: "unknown" });
      await expectStill(sandbox, "self");
    });
  });
}
