/** Conformance: output arrives while it is printed, byte for byte, from any offset, in any process, and in bounded space. */
import { describe, expect } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { newCallId, run, text, watch } from "./commands.ts";
import type { ConformanceTest } from "./conformance.ts";
import { inOtherProcess } from "./other-process.ts";

export function describeOutput(test: ConformanceTest): void {
  describe("output", () => {
    test("arrives before the command ends", async ({ given }) => {
      const { sandbox } = given;
      const callId = newCallId();
      await sandbox.start({
        callId,
        command: "echo one; while [ ! -e go-on ]; do sleep 0.02; done; echo two",
        timeoutMs: 9_000,
      });

      expect(text((await watch(sandbox, callId, { until: "one\n" })).stdout)).toBe("one\n");
      await sandbox.writeFile("go-on", new Uint8Array());

      expect(text((await watch(sandbox, callId)).stdout)).toBe("one\ntwo\n");
    });

    test("all of it comes before the end, many times over", async ({ given }) => {
      const { sandbox } = given;

      for (let i = 0; i < 20; i++) {
        const ran = await run(sandbox, "printf a; printf b >&2; printf c");
        expect([text(ran.stdout), text(ran.stderr)]).toEqual(["ac", "b"]);
        expect(ran.printed).toEqual({ stdout: 2, stderr: 1 });
      }
    });

    test("is in order within each stream, and the streams are apart", async ({ given }) => {
      const { sandbox } = given;
      const count = 3_000;

      const ran = await run(sandbox, `i=0; while [ $i -lt ${count} ]; do echo $i; echo e$i >&2; i=$((i + 1)); done`);

      const numbers = Array.from({ length: count }, (_, i) => i);
      expect(text(ran.stdout)).toBe(numbers.map((i) => `${i}\n`).join(""));
      expect(text(ran.stderr)).toBe(numbers.map((i) => `e${i}\n`).join(""));
    });

    test("is followed from an offset by another process, also after the end", async ({ given }) => {
      const { sandbox, elsewhere } = given;
      const { callId } = await run(sandbox, "printf 0123456789; printf abcdef >&2");

      const other = inOtherProcess({
        elsewhere,
        sandboxId: sandbox.id,
        follow: { callId, from: { stdout: 4, stderr: 6 } },
      });

      const events = (await other.done).trim().split("\n").slice(1);
      expect(events.map((line) => JSON.parse(line))).toEqual([
        { type: "output", stream: "stdout", bytes: "456789", offset: 4 },
        { type: "ended", end: expect.objectContaining({ exitCode: 0 }), printed: { stdout: 10, stderr: 6 } },
      ]);
    });

    test("from an offset beyond its end is nothing", async ({ given }) => {
      const { sandbox } = given;
      const { callId } = await run(sandbox, "printf 0123456789");

      const watched = await watch(sandbox, callId, { from: { stdout: 1_000_000, stderr: 1_000_000 } });

      expect(watched).toMatchObject({ end: { ended: "exited" }, printed: { stdout: 10, stderr: 0 } });
      expect(watched.stdout).toHaveLength(0);
    });

    test("every byte value comes through as it is", async ({ given }) => {
      const { sandbox } = given;
      const all = Uint8Array.from({ length: 256 }, (_, i) => i);
      await sandbox.writeFile("all", all);

      const ran = await run(sandbox, "cat all; cat all >&2");

      expect(ran.stdout.equals(all)).toBe(true);
      expect(ran.stderr.equals(all)).toBe(true);
    });

    test("a character cut in two by an offset is whole over both halves", async ({ given }) => {
      const { sandbox } = given;
      const { callId, stdout } = await run(sandbox, "printf 'aé'");

      const second = await watch(sandbox, callId, { from: { stdout: 2, stderr: 0 } });

      expect(text(Buffer.concat([stdout.subarray(0, 2), second.stdout]))).toBe("aé");
    });

    test("an abort ends the reading at once and leaves the command alone", async ({ given }) => {
      const { sandbox } = given;
      const callId = newCallId();
      await sandbox.start({
        callId,
        command: "while [ ! -e go-on ]; do sleep 0.02; done; echo done",
        timeoutMs: 9_000,
      });
      const reading = new AbortController();
      const events: string[] = [];

      const at = Date.now();
      setImmediate(() => reading.abort());
      for await (const event of sandbox.follow(callId, { stdout: 0, stderr: 0 }, reading.signal))
        events.push(event.type);

      expect(Date.now() - at).toBeLessThan(8_500);
      expect(events).toEqual([]);
      await sandbox.writeFile("go-on", new Uint8Array());
      expect(text((await watch(sandbox, callId)).stdout)).toBe("done\n");
    });

    test("of 200 MB the head and the tail are kept, all is counted, and the command neither waits nor dies", async ({
      given,
    }) => {
      const { sandbox } = given;
      const printed = 200_000_000;

      const ran = await run(sandbox, `printf head; head -c ${printed - 8} /dev/zero | tr '\\0' x; printf tail; exit 7`);

      expect(ran.end).toMatchObject({ ended: "exited", exitCode: 7 });
      expect(ran.printed).toEqual({ stdout: printed, stderr: 0 });
      expect(ran.stdout.subarray(0, 5).toString()).toBe("headx");
      expect(ran.stdout.subarray(-5).toString()).toBe("xtail");
      expect(ran.stdout.length).toBe(LIMITS.spoolBytesMax + LIMITS.spoolTailBytes);
      expect(ran.stdout.includes(0)).toBe(false);
      expect(ran.offsets.at(-1)).toBeGreaterThan(printed - LIMITS.spoolTailBytes - 1);
      const used = await run(sandbox, `du -k "${sandbox.spoolPath(ran.callId, "stdout")}"`);
      expect(Number.parseInt(text(used.stdout), 10) * 1024).toBeLessThan(LIMITS.spoolBytesMax + 2 ** 20);
    });

    test("an endless output stays within its bound while the command runs", async ({ given }) => {
      const { sandbox } = given;

      const ran = await run(sandbox, "yes", { timeoutMs: 1_000 });

      expect(ran.end).toMatchObject({ ended: "timed_out" });
      const used = await run(sandbox, `du -k "${sandbox.spoolPath(ran.callId, "stdout")}"`);
      expect(Number.parseInt(text(used.stdout), 10) * 1024).toBeLessThan(LIMITS.spoolBytesMax + 2 ** 21);
    });

    test("its spool is read by readFile and by other commands, and only the spools of calls are", async ({ given }) => {
      const { sandbox } = given;
      const { callId } = await run(sandbox, "echo in the spool");
      const spool = sandbox.spoolPath(callId, "stdout");

      expect(text(await sandbox.readFile(spool))).toBe("in the spool\n");
      expect(text((await run(sandbox, `cat "${spool}"`)).stdout)).toBe("in the spool\n");
      await expect(sandbox.readFile(spool.replace(/stdout$/, "go"))).rejects.toMatchObject({ kind: "denied" });
      await expect(sandbox.writeFile(spool, new Uint8Array())).rejects.toMatchObject({ kind: "denied" });
    });

    test("a spool that a command replaced by a symlink leads nowhere", async ({ given }) => {
      const { sandbox } = given;
      const callId = newCallId();
      const spool = sandbox.spoolPath(callId, "stdout");

      await run(sandbox, `ln -sf /etc/passwd "${spool}"`, { callId }).catch(() => undefined);

      const read = await sandbox.readFile(spool).then(text, (thrown: unknown) => {
        expect(thrown).toMatchObject({ name: "SandboxError", kind: "denied" });
        return "denied";
      });
      expect(read).not.toContain("root:");
    });
  });
}
