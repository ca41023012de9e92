/** Conformance: a command starts exactly once for its call id, whoever starts it, however often, and whoever dies meanwhile. */
import { describe, expect } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { lines, newCallId, run, text, watch } from "./commands.ts";
import type { ConformanceTest } from "./conformance.ts";
import { inOtherProcess } from "./other-process.ts";

export function describeStarts(test: ConformanceTest): void {
  describe("start", () => {
    test("runs a command in the workspace and tells its end", async ({ given }) => {
      const { sandbox } = given;

      const ran = await run(sandbox, "pwd; echo to-stderr >&2");

      expect(text(ran.stdout)).toBe(`${sandbox.workspace}\n`);
      expect(text(ran.stderr)).toBe("to-stderr\n");
      expect(ran.end).toEqual({ ended: "exited", exitCode: 0, durationMs: expect.any(Number) });
    });

    test("a second start of the same call changes nothing", async ({ given }) => {
      const { sandbox } = given;
      const { callId } = await run(sandbox, "echo first >> effects");

      await sandbox.start({ callId, command: "echo second >> effects", timeoutMs: 5_000 });

      expect((await watch(sandbox, callId)).end).toMatchObject({ exitCode: 0 });
      expect(text(await sandbox.readFile("effects"))).toBe("first\n");
    });

    test("starters of the same calls in five processes at the same instant give one effect each", async ({ given }) => {
      const { sandbox, elsewhere } = given;
      const callIds = Array.from({ length: 20 }, newCallId);
      const start = { callIds, times: 3, command: "echo x >> effects; echo y", after: "all-are-awake" };
      const others = Array.from({ length: 5 }, () => inOtherProcess({ elsewhere, sandboxId: sandbox.id, start }));
      await Promise.all(others.map((other) => other.says("awake")));

      await sandbox.writeFile("all-are-awake", new Uint8Array());
      await Promise.all(others.map((other) => other.done));

      const printed = await Promise.all(callIds.map(async (callId) => text((await watch(sandbox, callId)).stdout)));
      expect(printed).toEqual(callIds.map(() => "y\n"));
      expect(lines(await sandbox.readFile("effects"))).toHaveLength(callIds.length);
    });

    test("a starter killed at any instant neither loses nor doubles a command", async ({ given }) => {
      const { sandbox, elsewhere } = given;
      const callIds = Array.from({ length: 60 }, newCallId);
      const command = "echo x >> effects";

      for (let round = 0; round < 6; round++) {
        const some = callIds.slice(round * 10, round * 10 + 10);
        const other = inOtherProcess({ elsewhere, sandboxId: sandbox.id, start: { callIds: some, times: 1, command } });
        await other.says("awake");
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 40)); // The random instant, not a wait.
        other.kill();
        await other.done;
        await Promise.all(some.map((callId) => sandbox.start({ callId, command, timeoutMs: 5_000 })));
      }

      const ends = await Promise.all(
        callIds.map(async (callId) => {
          const { end, stderr } = await watch(sandbox, callId);
          return end?.ended === "exited" ? `exited ${end.exitCode} ${text(stderr)}` : end?.ended;
        }),
      );
      expect(new Set(ends)).toEqual(new Set(["exited 0 "]));
      expect(lines(await sandbox.readFile("effects"))).toHaveLength(callIds.length);
    });

    test("a command whose starter died before its first byte goes on and is followed by another", async ({ given }) => {
      const { sandbox, elsewhere } = given;
      const callId = newCallId();
      const command = "while [ ! -e go-on ]; do sleep 0.02; done; echo done";
      const other = inOtherProcess({
        elsewhere,
        sandboxId: sandbox.id,
        start: { callIds: [callId], times: 1, command },
        follow: { callId, from: { stdout: 0, stderr: 0 } },
      });
      await other.says("started");
      other.kill();
      await other.done;

      await sandbox.writeFile("go-on", new Uint8Array());

      expect(text((await watch(sandbox, callId)).stdout)).toBe("done\n");
    });

    test("the working folder is chosen relative to the workspace", async ({ given }) => {
      const { sandbox } = given;
      await sandbox.writeFile("a b/c.txt", new Uint8Array());

      const ran = await run(sandbox, "ls", { cwd: "a b" });

      expect(text(ran.stdout)).toBe("c.txt\n");
    });

    test("a working folder that is outside, missing or a file is refused and nothing runs", async ({ given }) => {
      const { sandbox } = given;
      await sandbox.writeFile("file", new Uint8Array());
      const start = (cwd: string) =>
        sandbox.start({ callId: newCallId(), command: "touch ran", cwd, timeoutMs: 1_000 });

      await expect(start("..")).rejects.toMatchObject({ kind: "denied" });
      await expect(start("/")).rejects.toMatchObject({ kind: "denied" });
      await expect(start("missing")).rejects.toMatchObject({ kind: "not_found" });
      await expect(start("file")).rejects.toMatchObject({ kind: "not_found" });
      expect(await sandbox.stat("ran")).toBeUndefined();
    });

    test("a command of any size and with any quotes arrives as it is", async ({ given }) => {
      const { sandbox } = given;
      const filler = "# $(touch expanded) `touch expanded` \" ' \\ \n".repeat(20_000);

      const ran = await run(sandbox, `${filler}echo "it's" 'a "b"' \\\\ ü`);

      expect(text(ran.stdout)).toBe(`it's a "b" \\ ü\n`);
      expect(await sandbox.stat("expanded")).toBeUndefined();
    });

    test("its secrets are variables of it alone, over others, and nobody reads them in arguments or in its files", async ({
      given,
    }) => {
      const { sandbox } = given;
      const secrets = { TOKEN: `line 1\nit's "2" $HOME \`id\` ü`, command: "no command", _x9: "" };
      const environment = { TOKEN: "not this one", OTHER: "o" };
      const show = 'printf "%s|%s|%s|%s" "$TOKEN" "$command" "$_x9" "$OTHER"';
      // A pattern that does not match itself, as it stands among the arguments, too.
      const look = `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '2["] [$]HOME'; grep -r '2["] [$]HOME' .; true`;

      const ran = await run(sandbox, show, { environment, secrets });
      const looked = await run(sandbox, look, { secrets: { TOKEN: secrets.TOKEN } });
      const next = await run(sandbox, 'echo "[$TOKEN$PERDURE_SECRETS$PERDURE_SECRET_TOKEN]"');

      expect(text(ran.stdout)).toBe(`${secrets.TOKEN}|no command||o`);
      expect(text(looked.stdout)).toBe("0\n");
      expect(text(next.stdout)).toBe("[]\n");
    });

    test("variables reach their command as they are, and no other", async ({ given }) => {
      const { sandbox } = given;
      const environment = { GREETING: `it's "a" $HOME \`x\`\n ü`, command: "x", shell: "x", call: "x", dir: "x" };

      const ran = await run(sandbox, 'printf %s "$GREETING"; echo " $command $shell $call $dir"', { environment });
      const next = await run(sandbox, 'echo "$GREETING"');

      expect(text(ran.stdout)).toBe(`${environment.GREETING} x x x x\n`);
      expect(text(next.stdout)).toBe("\n");
    });

    test("a command with variables of its own and of any size keeps both", async ({ given }) => {
      const { sandbox } = given;
      const environment = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`V${i}`, "v".repeat(8_192)]));

      const ran = await run(sandbox, `${"# filler\n".repeat(20_000)}echo "\${#V0} \${#V63}"`, { environment });

      expect(text(ran.stdout)).toBe("8192 8192\n");
    });

    test("a command's PATH and HOME may be its own, and it is timed and recorded all the same", async ({ given }) => {
      const { sandbox } = given;
      const environment = { PATH: "/nowhere", HOME: "/nowhere/home" };

      const ran = await run(sandbox, 'echo "$PATH $HOME"', { environment });
      const late = await run(sandbox, "while :; do :; done", { environment, timeoutMs: 400 });

      expect(text(ran.stdout)).toBe("/nowhere /nowhere/home\n");
      expect(ran.end).toMatchObject({ ended: "exited", exitCode: 0 });
      expect(late.end).toMatchObject({ ended: "timed_out" });
    });

    test("a variable that no process can have is refused and nothing runs", async ({ given }) => {
      const { sandbox } = given;
      const start = (environment: Record<string, string>) =>
        sandbox.start({ callId: newCallId(), command: "touch ran", timeoutMs: 1_000, environment });

      await expect(start({ "-i": "x" })).rejects.toMatchObject({ kind: "failed" });
      await expect(start({ "A=B": "x" })).rejects.toMatchObject({ kind: "failed" });
      await expect(start({ A: "x\0y" })).rejects.toMatchObject({ kind: "failed" });
      expect(await sandbox.stat("ran")).toBeUndefined();
    });

    test("standard input is given as it is, and nothing by default", async ({ given }) => {
      const { sandbox } = given;
      const input = Uint8Array.from({ length: 200_000 }, (_, i) => i % 256);

      const ran = await run(sandbox, "cat", { input });
      const piped = await run(sandbox, "read -r a; echo $a; cat | tr a b", {
        input: new TextEncoder().encode("x\naa"),
      });

      expect(ran.stdout.equals(input)).toBe(true);
      expect(text(piped.stdout)).toBe("x\nbb");
      expect(text((await run(sandbox, "cat; echo done")).stdout)).toBe("done\n");
      expect(text((await run(sandbox, "cat; echo done", { input: new Uint8Array() })).stdout)).toBe("done\n");
    });

    test("standard input beyond its bound is refused and nothing runs", async ({ given }) => {
      const { sandbox } = given;
      const input = new Uint8Array(LIMITS.commandInputBytesMax + 1);

      await expect(run(sandbox, "touch ran", { input })).rejects.toMatchObject({ kind: "too_large" });
      expect(await sandbox.stat("ran")).toBeUndefined();
    });

    test("starters that race give the input once", async ({ given }) => {
      const { sandbox } = given;
      const start = { callId: newCallId(), command: "cat >> effects", input: new TextEncoder().encode("once\n") };

      await Promise.all(Array.from({ length: 8 }, () => sandbox.start({ ...start, timeoutMs: 20_000 })));

      expect((await watch(sandbox, start.callId)).end).toMatchObject({ exitCode: 0 });
      expect(text(await sandbox.readFile("effects"))).toBe("once\n");
    });

    test("two commands run in parallel, each with its own output and end", async ({ given }) => {
      const { sandbox } = given;
      const wait = (mine: string, other: string) =>
        `touch ${mine}; while [ ! -e ${other} ]; do sleep 0.02; done; echo ${mine}; echo ${mine} >&2; exit 3`;

      const both = await Promise.all([run(sandbox, wait("a", "b")), run(sandbox, wait("b", "a"))]);

      expect(both.map((ran) => text(ran.stdout) + text(ran.stderr))).toEqual(["a\na\n", "b\nb\n"]);
      for (const ran of both) expect(ran.end).toMatchObject({ ended: "exited", exitCode: 3 });
    });

    test("an empty command ends well and one with a NUL byte is refused", async ({ given }) => {
      const { sandbox } = given;

      expect((await run(sandbox, "")).end).toMatchObject({ ended: "exited", exitCode: 0 });
      await expect(run(sandbox, "echo \0")).rejects.toMatchObject({ kind: "failed" });
    });

    test("following a call that was never started says so", async ({ given }) => {
      const { sandbox } = given;

      await expect(watch(sandbox, newCallId())).rejects.toMatchObject({ kind: "not_found" });
    });
  });
}
