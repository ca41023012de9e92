/** Conformance: how commands end, by themselves, by timeout, by kill, and when nobody can know. */
import { describe, expect, test } from "vitest";
import type { Sandbox } from "../../sandbox/provider.ts";
import { eventually, isRunning, lines, newCallId, parentOf, run, text, watch } from "./commands.ts";
import type { Given } from "./conformance.ts";

export function describeEnds(given: () => Given): void {
  describe("end", () => {
    test("an exit code is told", async () => {
      expect((await run(given().sandbox, "exit 3")).end).toMatchObject({ ended: "exited", exitCode: 3 });
      expect((await run(given().sandbox, "no-such-program")).end).toMatchObject({ ended: "exited", exitCode: 127 });
      expect((await run(given().sandbox, "if")).end).toMatchObject({ ended: "exited", exitCode: 2 });
    });

    test("the signal that ended a command is told", async () => {
      expect((await run(given().sandbox, "kill -9 $$")).end).toMatchObject({ ended: "signalled", signal: "SIGKILL" });
    });

    test("a command that signals its whole group still leaves its end", async () => {
      const ran = await run(given().sandbox, "trap 'kill 0' EXIT; sleep 30 & echo here");

      expect(text(ran.stdout)).toBe("here\n");
      expect(ran.end?.ended).toMatch(/exited|signalled/);
    });

    test("the duration is measured", async () => {
      const { end } = await run(given().sandbox, "sleep 0.3");

      expect(end).toMatchObject({ ended: "exited", durationMs: expect.any(Number) });
      if (end?.ended === "exited") expect(end.durationMs).toBeGreaterThanOrEqual(280);
      if (end?.ended === "exited") expect(end.durationMs).toBeLessThan(2_000);
    });

    test("a timeout ends the command and what it started, and keeps what was printed", async () => {
      const { sandbox } = given();

      const ran = await run(sandbox, "echo before; sleep 60 & echo $! > child; wait", { timeoutMs: 300 });

      expect(ran.end).toMatchObject({ ended: "timed_out" });
      expect(text(ran.stdout)).toBe("before\n");
      await expectGone(sandbox, "child");
    });

    test("a timeout ends a command that ignores TERM", async () => {
      const { sandbox } = given();

      const ran = await run(sandbox, "trap '' TERM; echo $$ > self; while :; do sleep 0.2; done", { timeoutMs: 200 });

      expect(ran.end).toMatchObject({ ended: "timed_out" });
      await expectGone(sandbox, "self");
    });

    test("a kill ends the group within a second, and tells so", async () => {
      const { sandbox } = given();
      const callId = await started(sandbox, "echo $$ > self; (echo $BASHPID > child; exec sleep 60) & echo up; wait");

      const at = Date.now();
      await sandbox.kill(callId);

      expect(Date.now() - at).toBeLessThan(1_000);
      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      await expectGone(sandbox, "self");
    });

    test("a kill ends a command that ignores TERM", async () => {
      const { sandbox } = given();
      const callId = await started(sandbox, "trap '' TERM; echo $$ > self; echo up; while :; do sleep 0.2; done");

      await sandbox.kill(callId);

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      await expectGone(sandbox, "self");
    });

    test("a command that handles TERM may say goodbye", async () => {
      const { sandbox } = given();
      const callId = await started(sandbox, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");

      await sandbox.kill(callId);

      const watched = await watch(sandbox, callId);
      expect(text(watched.stdout)).toBe("up\nbye\n");
      expect(watched.end).toMatchObject({ ended: "killed" });
    });

    test("a kill that comes before the start prevents it", async () => {
      const { sandbox } = given();
      const callId = newCallId();

      await sandbox.kill(callId);
      await sandbox.start({ callId, command: "touch ran", timeoutMs: 5_000 });

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "killed" });
      expect(await sandbox.stat("ran")).toBeUndefined();
    });

    test("a kill that races the start leaves nothing running", async () => {
      const { sandbox } = given();
      const races = Array.from({ length: 10 }, newCallId).map(async (callId) => {
        const start = sandbox.start({ callId, command: "sleep 60", timeoutMs: 70_000 });
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 6)); // The random instant, not a wait.
        await Promise.all([start, sandbox.kill(callId)]);
        return (await watch(sandbox, callId)).end?.ended;
      });

      expect(new Set(await Promise.all(races))).toEqual(new Set(["killed"]));
    });

    test("a kill after the end changes nothing, and one of a call that never was is no error", async () => {
      const { sandbox } = given();
      const { callId } = await run(sandbox, "exit 4");

      await Promise.all([sandbox.kill(callId), sandbox.kill(callId), sandbox.kill(newCallId())]);

      expect((await watch(sandbox, callId)).end).toMatchObject({ ended: "exited", exitCode: 4 });
    });

    test("a kill after the end ends what the command left in its group", async () => {
      const { sandbox } = given();
      const { callId, end } = await run(sandbox, "sleep 60 & echo $! > child");
      expect(end).toMatchObject({ ended: "exited", exitCode: 0 });

      await sandbox.kill(callId);

      await expectGone(sandbox, "child");
    });

    test("a forked daemon that keeps the output open does not keep the command from ending", async () => {
      const { sandbox } = given();

      const ran = await run(sandbox, "(exec setsid sh -c 'echo $$ > daemon; exec sleep 60') & echo started");

      expect(ran.end).toMatchObject({ ended: "exited", exitCode: 0 });
      expect(text(ran.stdout)).toBe("started\n");
    });

    test("removing the sandbox ends commands and daemons", async () => {
      const { provider, sandbox } = given();
      await run(sandbox, "(exec setsid sh -c 'echo $$ > daemon; exec sleep 60') & echo started");
      await started(sandbox, "trap '' TERM; echo $$ > self; echo up; while :; do sleep 0.2; done");
      await eventually(async () => (await sandbox.stat("daemon"))?.bytes !== undefined, "the daemon is up");
      const pids = await Promise.all(["self", "daemon"].map((file) => pidIn(sandbox, file)));

      await provider.remove(sandbox.id);

      await eventually(() => pids.every((pid) => !isRunning(pid)), "all processes are gone");
    });

    test("the end of a command whose processes were killed from outside is unknown", async () => {
      const { sandbox } = given();
      const callId = await started(sandbox, "echo $$ > self; echo up; sleep 60");

      // The parent of the command is the supervisor, the leader of its group.
      process.kill(-parentOf(await pidIn(sandbox, "self")), "SIGKILL");

      const watched = await watch(sandbox, callId);
      expect(watched.end).toEqual({ ended: "unknown" });
      expect(text(watched.stdout)).toBe("up\n");
      await sandbox.start({ callId, command: "touch again", timeoutMs: 1_000 });
      expect(await sandbox.stat("again")).toBeUndefined();
    });

    test("a command whose supervisor alone was killed is ended too, as nobody would see its end", async () => {
      const { sandbox } = given();
      const callId = await started(sandbox, "echo $$ > self; echo up; while :; do sleep 0.2; done");

      process.kill(parentOf(await pidIn(sandbox, "self")), "SIGKILL");

      expect((await watch(sandbox, callId)).end).toEqual({ ended: "unknown" });
      await expectGone(sandbox, "self");
    });
  });
}

async function started(sandbox: Sandbox, command: string): Promise<`call_${string}`> {
  const callId = newCallId();
  await sandbox.start({ callId, command, timeoutMs: 30_000 });
  await watch(sandbox, callId, { until: "up\n" });
  return callId;
}

async function pidIn(sandbox: Sandbox, file: string): Promise<number> {
  await eventually(async () => ((await sandbox.stat(file))?.bytes ?? 0) > 0, `${file} holds a process id`);
  return Number(lines(await sandbox.readFile(file))[0]);
}

async function expectGone(sandbox: Sandbox, file: string): Promise<void> {
  const pid = await pidIn(sandbox, file);
  await eventually(() => !isRunning(pid), `process ${pid} is gone`);
}
