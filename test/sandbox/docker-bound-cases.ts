/** What programs in a container may fill, however they go about it; and how much of their calls is kept. On a real engine. */
import { statfsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { SandboxSpec } from "../../contract/sandbox.ts";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import { containerName } from "../../sandbox/docker-container.ts";
import { connectDocker } from "../../sandbox/docker-engine.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { bytes, eventually, run, text } from "./commands.ts";
import { inContainer } from "./docker-kills.ts";
import { withSandbox } from "./docker-sandbox.ts";
import { type Filling, fillFiles, fillings } from "./filling.ts";

/** Growth is seen at the engine's pace. */
const PIECES = { count: 80, pause: 0.2 };
const WAYS: readonly Filling[] = [
  ...fillings(PIECES),
  { name: "beside the workspace", program: fillFiles(PIECES, "/") },
];

export function describeDockerBounds(options: () => Promise<DockerProviderOptions>): void {
  const within = async (spec: SandboxSpec, work: Parameters<typeof withSandbox>[2]): Promise<void> =>
    withSandbox(await options(), spec, work);

  /** Resolves when no process of that name runs in it. */
  const untilEnded = (given: DockerProviderOptions, sandbox: Sandbox, mark: string): Promise<void> =>
    eventually(
      async () =>
        (await inContainer(
          given,
          sandbox.id,
          `for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f | grep -q '${mark.slice(0, 1)}[${mark.slice(1, 2)}]${mark.slice(2)}' && exit 9; done; exit 0`,
        )) === 0,
      "it was ended",
    );

  describe("what a container may fill", { timeout: 90_000 }, () => {
    test.each(WAYS)("a command that fills more than its bound $name is ended and told why", async ({ program }) => {
      await within({ diskMiB: 16 }, async (sandbox) => {
        const ran = await run(sandbox, program);

        expect(text(ran.stdout)).not.toContain("filled");
        expect(ran.end).toMatchObject({ ended: "killed" });
        expect(text(ran.stderr)).toContain("more than its 16 MiB; the command was ended");
        expect(text((await run(sandbox, "echo usable")).stdout)).toBe("usable\n");
      });
    });

    test("what a command has left running is held to the bound, although nothing is followed", async () => {
      await within({ diskMiB: 16 }, async (sandbox, given) => {
        const filling =
          "i=0; while [ $i -lt 200 ]; do head -c 2000000 /dev/zero >f$i; i=$((i+1)); sleep 0.2; done; sleep 971";
        await run(sandbox, `(exec setsid sh -c '${filling}') >/dev/null 2>&1 & :`);

        await untilEnded(given, sandbox, "2000000");

        const left = await run(sandbox, "ls | wc -l; rm -f f*; echo usable");
        expect(Number.parseInt(text(left.stdout), 10)).toBeLessThan(120);
        expect(text(left.stdout)).toContain("usable");
      });
    });

    test("a terminal is held to the bound, and is told why", async () => {
      await within({ diskMiB: 16 }, async (sandbox) => {
        const terminal = await sandbox.openTerminal?.({ columns: 80, rows: 24 });
        if (terminal === undefined) throw new Error("expected a terminal");
        let printed = "";
        const reading = (async () => {
          for await (const piece of terminal.output) printed += text(piece);
        })();

        terminal.write(
          bytes("for i in $(seq 200); do head -c 2000000 /dev/zero >f$i; sleep 0.2; done; echo fil''led\n"),
        );

        await reading;
        expect(printed).not.toContain("filled");
        expect(printed).toContain("more than its 16 MiB; what ran was ended");
        await terminal.close();
      });
    });

    test("one that is watched again by another process, which has not begun any of it, is held", async () => {
      await within({ diskMiB: 16 }, async (sandbox, given) => {
        await run(sandbox, "head -c 9000000 /dev/zero >a; head -c 9000000 /dev/zero >b");
        const filling = "i=0; while [ $i -lt 300 ]; do head -c 2000000 /dev/zero >f$i; i=$((i+1)); sleep 0.2; done";
        const started = inContainer(
          given,
          sandbox.id,
          `cd /workspace; (exec setsid sh -c '${filling}') >/dev/null 2>&1 & :`,
        );
        expect(await started).toBe(0);

        await createDockerProvider(given).tidy?.(async () => false);

        await untilEnded(given, sandbox, "2000000");
      });
    });

    test("shared memory is the sandbox's memory", async () => {
      await within({ memoryMiB: 64 }, async (sandbox) => {
        const ran = await run(sandbox, "head -c 200000000 /dev/zero >/dev/shm/f; echo done $?; rm -f /dev/shm/f");

        expect(text(ran.stdout)).not.toContain("done 0");
      });
    });

    test("one that grows while the host's disk is almost full is ended, one that does not is left alone", async () => {
      const { bavail, bsize } = statfsSync("/tmp");
      const hostFreeMiB = Math.floor((bavail * bsize) / 2 ** 20) + 100_000;
      await withSandbox({ ...(await options()), hostFreeMiB }, {}, async (sandbox) => {
        const calm = await run(sandbox, "sleep 3; echo calm");
        const filling =
          "i=0; while [ $i -lt 180 ]; do head -c 4000000 /dev/zero >f$i; i=$((i+1)); sleep 0.2; done; echo filled";
        const grown = await run(sandbox, filling);

        expect(text(calm.stdout)).toBe("calm\n");
        expect(text(grown.stdout)).not.toContain("filled");
        expect(text(grown.stderr)).toContain("the host's disk is almost full");
      });
    });

    test("of its calls the newest are kept, and of the older ones what is not committed", async () => {
      await within({}, async (sandbox, given) => {
        const count = LIMITS.callFoldersKept + 20;
        const made = `mkdir -p /perdure/calls && cd /perdure/calls || exit 7; for i in $(seq ${count}); do mkdir call_$i; [ $i = 3 ] || : >call_$i/exit; touch -d "@$((1700000000 + i))" call_$i; done`;
        expect(await inContainer(given, sandbox.id, made)).toBe(0);

        await createDockerProvider(given).tidy?.(async (id) => id !== "call_5");

        const { docker } = await connectDocker(given.engine);
        expect((await docker.getContainer(containerName(given.owner, sandbox.id)).inspect()).State.Running).toBe(true);
        const left = `cd /perdure/calls; [ "$(ls | wc -l)" = ${LIMITS.callFoldersKept + 2} ] && [ -d call_3 ] && [ -d call_5 ] && [ -d call_${count} ]`;
        expect(await inContainer(given, sandbox.id, left)).toBe(0);
      });
    });
  });
}
