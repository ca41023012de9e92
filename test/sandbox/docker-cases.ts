/** What is docker's own: adoption, limits, what its containers are held to, terminals, images, errors in words. */
import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import type { SandboxSpec } from "../../contract/sandbox.ts";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import { containerName } from "../../sandbox/docker-container.ts";
import { connectDocker, detectDocker } from "../../sandbox/docker-engine.ts";
import { bytes, eventually, run, text } from "./commands.ts";
import { inContainer } from "./docker-kills.ts";
import { testOwner, withSandbox } from "./docker-sandbox.ts";

export interface DockerCases {
  /** Whether its containers are real ones: held to limits, with terminals and images. */
  readonly isReal: boolean;
}

export function describeDocker(
  options: (image?: string) => Promise<DockerProviderOptions>,
  { isReal }: DockerCases = { isReal: true },
): void {
  const within = async (work: Parameters<typeof withSandbox>[2], spec: SandboxSpec = {}): Promise<void> =>
    withSandbox(await options(), spec, work);

  describe.concurrent("docker", { timeout: 60_000 }, () => {
    test("an engine is detected, and the reason is told when none answers", async () => {
      const { engine } = await options();

      expect(await detectDocker(engine)).toMatchObject({ works: true });
      expect(await detectDocker("unix:///nowhere/engine.sock")).toEqual({
        works: false,
        reason: expect.stringContaining("nobody listens there"),
      });
      expect(await detectDocker("gopher://x")).toMatchObject({ works: false });
    });

    test("an image that the engine has not is told with how to get it, and none is left behind", async () => {
      const given = await options("perdure-test/missing:1");
      const provider = createDockerProvider(given);

      const opening = provider.open("sbx_missing_image");

      await expect(opening).rejects.toMatchObject({
        kind: "failed",
        message: expect.stringContaining("docker pull perdure-test/missing:1"),
      });
      expect(await provider.list()).not.toContainEqual(expect.objectContaining({ id: "sbx_missing_image" }));
    });

    test("an engine that is not there is a failure in words, not a lost sandbox", async () => {
      const provider = createDockerProvider({ engine: "unix:///nowhere/engine.sock", owner: "nobody" });

      await expect(provider.open("sbx_x")).rejects.toMatchObject({ name: "SandboxError", kind: "failed" });
      await expect(provider.find("sbx_x")).rejects.toMatchObject({ name: "SandboxError", kind: "failed" });
    });

    test("an allow-list is refused where no network can be given", async () => {
      const { networkFolder: _, ...given } = await options();
      const provider = createDockerProvider(given);

      const opening = provider.open("sbx_network", { network: { allow: ["example.com"] } });

      expect(provider.capabilities.network).toBe("none");
      await expect(opening).rejects.toMatchObject({ kind: "failed", message: expect.stringContaining("allow-list") });
      expect(await provider.find("sbx_network")).toBeUndefined();
    });

    test("one installation neither sees nor removes what another has made", async () => {
      await within(async (sandbox, given) => {
        const other = createDockerProvider({ ...given, owner: testOwner() });

        await other.remove(sandbox.id);

        expect(await other.find(sandbox.id)).toBeUndefined();
        expect(await other.list()).toEqual([]);
        expect(text((await run(sandbox, "echo here")).stdout)).toBe("here\n");
      });
    });

    test("a container that was made and never started is taken over by the next", async () => {
      const given = await options();
      const provider = createDockerProvider(given);
      const { docker } = await connectDocker(given.engine);
      const id: SandboxId = `sbx_${randomUUID()}`;
      const first = await provider.open(id);
      const made = await docker.getContainer(containerName(given.owner, id)).inspect();
      await provider.remove(id);
      await docker.createContainer({
        name: containerName(given.owner, id),
        ...{ Image: made.Config.Image, Entrypoint: made.Config.Entrypoint, Cmd: made.Config.Cmd },
        ...{ Labels: made.Config.Labels, WorkingDir: made.Config.WorkingDir, HostConfig: { NetworkMode: "none" } },
      });

      expect(await provider.find(id)).toBeUndefined();
      await using adopted = await provider.open(id);

      expect(text((await run(adopted, "echo adopted")).stdout)).toBe("adopted\n");
      await first[Symbol.asyncDispose]();
      await provider.remove(id);
    });

    test("an idle handle costs nothing, and a disposed one says so", async () => {
      const given = await options();
      const provider = createDockerProvider(given);
      const id: SandboxId = `sbx_${randomUUID()}`;
      const sandbox = await provider.open(id);
      await sandbox.writeFile("a", bytes("1"));

      await sandbox[Symbol.asyncDispose]();

      await expect(sandbox.stat("a")).rejects.toMatchObject({ kind: "failed" });
      await provider.remove(id);
    });

    test.skipIf(!isReal)("a command sees no network, no capability and no way to gain one", async () => {
      await within(async (sandbox) => {
        const status = text((await run(sandbox, "cat /proc/self/status; ls /sys/class/net")).stdout);

        expect(status).toMatch(/CapEff:\s+0{16}/);
        expect(status).toMatch(/CapBnd:\s+0{16}/);
        expect(status).toMatch(/NoNewPrivs:\s+1/);
        expect(status.trim().split("\n").at(-1)).toBe("lo");
      });
    });

    test.skipIf(!isReal)(
      "memory and processes are held, and what breaks a limit leaves the sandbox usable",
      async () => {
        await within(
          async (sandbox) => {
            const big = await run(sandbox, "a=x; while :; do a=$a$a$a$a; done");
            expect(["signalled", "exited"]).toContain(big.end?.ended);
            expect(big.end).not.toMatchObject({ exitCode: 0 });
            // A shell that may start no more waits for some to end, and these do not.
            const filling = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; echo made";
            const many = await run(sandbox, filling, { timeoutMs: 4_000 });
            // By its time, or because whoever holds it to its time found no room either.
            expect(["timed_out", "killed"]).toContain(many.end?.ended);
            expect(text(many.stdout)).not.toContain("made");

            await eventually(
              async () => (await run(sandbox, "echo fine").catch(() => undefined))?.stdout.toString() === "fine\n",
              "commands run again",
            );
          },
          { memoryMiB: 64, processesMax: 48, cpu: 0.5 },
        );
      },
    );

    test.skipIf(!isReal)("a command that fills the disk is ended, and one that makes room is not", async () => {
      await within(
        async (sandbox) => {
          const filled = await run(
            sandbox,
            "i=0; while [ $i -lt 600 ]; do dd if=/dev/zero of=f$i bs=1M count=2 2>/dev/null; i=$((i+1)); sleep 0.05; done; sleep 9",
          );
          expect(filled.end).toMatchObject({ ended: "killed" });
          expect(text(filled.stderr)).toContain("more than its 20 MiB; the command was ended");
          const large = await run(sandbox, "dd if=/dev/zero of=large bs=1M count=30 2>/dev/null");
          expect(large.end).not.toMatchObject({ exitCode: 0 });

          const emptied = await run(sandbox, "rm -f f*; sleep 2.5; ls | wc -l");
          expect(emptied.end).toMatchObject({ ended: "exited", exitCode: 0 });
        },
        { diskMiB: 20 },
      );
    });

    test.skipIf(!isReal)("a terminal takes input, has a size, and ends with all that it started", async () => {
      await within(async (sandbox, given) => {
        const terminal = await sandbox.openTerminal?.({ columns: 91, rows: 33, environment: { MARK: "seen" } });
        if (terminal === undefined) throw new Error("expected a terminal");
        let printed = "";
        const reading = (async () => {
          for await (const piece of terminal.output) printed += text(piece);
        })();

        terminal.resize(101, 37);
        terminal.write(bytes("stty size; echo $MARK-$((40+2)); sleep 300 & echo started\n"));
        await eventually(() => printed.includes("seen-42") && /^started/m.test(printed), "the shell answers");
        // The engine takes a size when it comes to it, and tells nobody.
        await eventually(async () => {
          terminal.write(bytes("stty size\n"));
          await new Promise((resolve) => setTimeout(resolve, 50));
          return printed.includes("37 101");
        }, "it has its new size");
        await terminal.close();
        await reading;
        // What a killed worker has left of one is ended by its mark, whoever does it.
        const other = await sandbox.openTerminal?.({ columns: 80, rows: 24, mark: "term_left" });
        other?.write(bytes("sleep 300 & echo begun-$((40+2))\n"));
        let seen = "";
        for await (const piece of other?.output ?? []) {
          seen += text(piece);
          if (seen.includes("begun-42")) await sandbox.endTerminal?.("term_left");
        }
        await sandbox.endTerminal?.("term_left");

        const left = await inContainer(
          given,
          sandbox.id,
          "for f in /proc/[0-9]*/cmdline; do grep -q '^sleep.300' $f && exit 9; done; exit 0",
        );
        expect(left).toBe(0);
      });
    });

    test.skipIf(!isReal)("a snapshot is the whole disk, and a new sandbox begins as it was", async () => {
      await within(async (sandbox, given) => {
        await run(sandbox, "echo kept > file; echo beyond > /opt-file");
        const image = await sandbox.snapshotImage?.();
        if (image === undefined) throw new Error("expected an image");
        const provider = createDockerProvider(given);
        const id: SandboxId = `sbx_${randomUUID()}`;

        await using next = await provider.open(id, {}, { image });

        expect(text((await run(next, "cat file /opt-file")).stdout)).toBe("kept\nbeyond\n");
        await provider.remove(id);
        const { docker } = await connectDocker(given.engine);
        await docker.getImage(image).remove();
      });
    });

    test.skipIf(!isReal)(
      "a program that owns every file and every program of the sandbox neither hangs nor overfills the worker",
      async () => {
        await within(
          async (sandbox, given) => {
            await sandbox.writeFile("file", bytes("real"));
            const takeOver =
              "for name in stat dd find mv; do file=$(command -v $name); rm -f $file; printf '#!/bin/sh\\nyes lies\\n' >$file; chmod 755 $file; done";
            expect(await inContainer(given, sandbox.id, takeOver)).toBe(0);

            const refused = { name: "SandboxError" };
            await expect(sandbox.stat("file")).rejects.toMatchObject(refused);
            await expect(sandbox.readFile("file")).rejects.toMatchObject(refused);
            await expect(sandbox.listFiles(".", { depth: 1, max: 10 })).rejects.toMatchObject(refused);
            await expect(sandbox.scan({ skip: () => false, max: 10 })).rejects.toMatchObject(refused);
          },
          { memoryMiB: 32 },
        );
      },
    );
  });
}
