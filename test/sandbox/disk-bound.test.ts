/** What programs in bubblewrap sandboxes may fill, however they go about it: files, files without a name, many, after their command. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { readHolder } from "../../sandbox/egress/holder.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { eventually, newCallId, processesWith, run, text, watch } from "./commands.ts";
import { type Filling, fillFiles, fillings, python } from "./filling.ts";

const found = await detectBubblewrap();
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-disk-"));
const provider = createBubblewrapProvider({ root });
let count = 0;
const newId = (): SandboxId => `sbx_disk_${process.pid}_${++count}`;
const holder = (id: SandboxId) => readHolder(path.join(root, id, "watch"));

afterAll(async () => {
  for (const { id } of await provider.list()) await provider.remove(id);
  rmSync(root, { recursive: true, force: true });
});

/** KiB on the disk. */
function held(id: SandboxId): number {
  return Number.parseInt(execFileSync("du", ["-sk", path.join(root, id, "workspace")], { encoding: "utf8" }), 10);
}

/** Whatever a watcher waits for between two kills takes half a second longer, as on a host that has too much to do. */
function slowNaps(): Disposable {
  const before = process.env["PATH"];
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-slow-"));
  writeFileSync(
    path.join(folder, "sleep"),
    '#!/bin/sh\n[ "$1" != 0.020 ] || exec /bin/sleep 0.5\nexec /bin/sleep "$@"\n',
    {
      mode: 0o755,
    },
  );
  process.env["PATH"] = `${folder}:${before}`;
  return {
    [Symbol.dispose]() {
      process.env["PATH"] = before;
      rmSync(folder, { recursive: true });
    },
  };
}

const PIECES = { count: 60, pause: 0.1 };
const WAYS: readonly Filling[] = [
  ...fillings(PIECES),
  {
    name: "in a file that is mapped, has no name and is not open",
    program: python(`
import mmap, os, time
maps = []
for i in range(60):
    f = os.open("f", os.O_RDWR | os.O_CREAT); os.unlink("f"); os.ftruncate(f, 2000000)
    maps.append(mmap.mmap(f, 2000000)); os.close(f)
    maps[-1].write(b"x" * 2000000); maps[-1].flush(); time.sleep(0.1)
print("filled")`),
  },
  {
    name: "in many empty folders",
    program: python(`
import os, time
for i in range(120000):
    os.mkdir("d%d" % i)
    if i % 500 == 0: time.sleep(0.05)
print("filled")`),
  },
];

describe.skipIf(!found.works)(
  found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
  { timeout: 60_000, concurrent: true },
  () => {
    test.each(WAYS)("a command that fills more than its bound $name is ended and told why", async ({ program }) => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });

      const ran = await run(sandbox, program);

      expect(text(ran.stdout)).not.toContain("filled");
      expect(ran.end).toMatchObject({ ended: "signalled", signal: "SIGXFSZ" });
      expect(text(ran.stderr)).toContain("perdure: the workspace holds more than its 16 MiB; the command was ended");
      expect(held(sandbox.id)).toBeLessThan(64 * 1024);
      await provider.remove(sandbox.id);
    });

    test("no single file grows beyond the bound, by writing, truncating or allocating", async () => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      const tries = [
        "head -c 40000000 /dev/zero >f",
        "truncate -s 40M g",
        "fallocate -l 40M h",
        "dd if=/dev/zero of=i bs=1 count=1 seek=40000000",
      ];

      const ran = await run(
        sandbox,
        `for try in ${tries.map((one) => `"${one}"`).join(" ")}; do sh -c "$try" && echo done; done; rm -f f; :`,
      );

      expect(text(ran.stdout)).toBe("");
      const largest = await run(sandbox, "stat -c %s * 2>/dev/null | sort -n | tail -n 1");
      expect(Number(text(largest.stdout))).toBeLessThanOrEqual(16 * 1024 * 1024);
      await provider.remove(sandbox.id);
    });

    test("what a command has left running is held to the bound, and the next command is told", async () => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      const mark = `6${Math.floor(Math.random() * 1e9)}`;
      await run(
        sandbox,
        `(exec setsid sh -c 'for i in $(seq 100); do head -c 2000000 /dev/zero >f$i; sleep 0.1; done; sleep ${mark}') >/dev/null 2>&1 & :`,
      );

      await eventually(() => existsSync(path.join(root, sandbox.id, "notice")), "it was ended");
      const next = await run(sandbox, "ls | wc -l; rm -f f*");
      const after = await run(sandbox, "echo well");

      expect(Number(text(next.stdout))).toBeLessThan(40);
      expect(text(next.stderr)).toMatch(/^perdure: the workspace holds more than its 16 MiB; what still ran/);
      expect(processesWith(mark)).toEqual([]);
      expect([text(after.stdout), text(after.stderr)]).toEqual(["well\n", ""]);
      await provider.remove(sandbox.id);
    });

    test("a terminal is held to the bound, and says so", async () => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      const terminal = await sandbox.openTerminal?.({ columns: 200, rows: 24 });
      if (terminal === undefined) throw new Error("expected a terminal");
      let printed = "";
      const reading = (async () => {
        for await (const piece of terminal.output) printed += text(piece);
      })();

      terminal.write(
        Buffer.from("for i in $(seq 100); do head -c 2000000 /dev/zero >f$i; sleep 0.1; done; echo fil''led\n"),
      );
      await reading;

      expect(printed).toContain("perdure: the workspace holds more than its 16 MiB; what ran was ended");
      expect(printed).not.toContain("filled");
      expect(held(sandbox.id)).toBeLessThan(64 * 1024);
      await terminal.close();
      await provider.remove(sandbox.id);
    });

    test("a workspace that is too full can be cleaned up", async () => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      await run(sandbox, fillFiles(PIECES));

      const cleaning = await run(sandbox, "sleep 0.7; rm -f f*; sleep 0.7; echo clean");

      expect(text(cleaning.stdout)).toBe("clean\n");
      await provider.remove(sandbox.id);
    });

    test("what begins while what filled it is being ended waits, and is not ended with it", async () => {
      using _slow = slowNaps();
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      const filling = await run(sandbox, fillFiles(PIECES));

      const next = await run(sandbox, "rm -f f*; sleep 1; echo well");

      expect(text(filling.stderr)).toContain("perdure: the workspace holds more than its 16 MiB");
      expect([text(next.stdout), text(next.stderr), next.end?.ended]).toEqual(["well\n", "", "exited"]);
      await provider.remove(sandbox.id);
    });

    test("what grows is ended when the host's disk is almost full, and what does not goes on", async () => {
      const { bavail, bsize } = statfsSync(root);
      // As if the floor were just below what is free now.
      const careful = createBubblewrapProvider({ root, hostFreeMiB: Math.floor((bavail * bsize) / 2 ** 20) + 10_000 });
      const [growing, resting] = [await careful.open(newId()), await careful.open(newId())];
      const quiet = run(resting, "sleep 4; echo well");

      const ran = await run(
        growing,
        "for i in $(seq 100); do head -c 3000000 /dev/zero >f$i; sleep 0.1; done; echo filled",
      );

      expect(text(ran.stdout)).toBe("");
      expect(text(ran.stderr)).toContain("perdure: the host's disk is almost full; the command was ended");
      expect(text((await quiet).stdout)).toBe("well\n");
      for (const { id } of [growing, resting]) await careful.remove(id);
    });

    test("without cgroups shared memory counts too", async () => {
      const bare = createBubblewrapProvider({ root, cgroups: { version: 1, folders: {} } });
      const sandbox = await bare.open(newId(), { memoryMiB: 64 });

      const ran = await run(
        sandbox,
        python(`
import mmap, time
maps = []
for i in range(40):
    maps.append(mmap.mmap(-1, 8 << 20)); maps[-1].write(b"x" * (8 << 20)); time.sleep(0.2)
print("took")`),
      );

      expect(text(ran.stdout)).toBe("");
      expect(text(ran.stderr)).toContain("hold more than 64 MiB of memory");
      await bare.remove(sandbox.id);
    });

    test("a watcher that was killed is followed by another, and none is left when nothing lives", async () => {
      const sandbox = await provider.open(newId(), { diskMiB: 16 });
      const filling = newCallId();
      await sandbox.start({ callId: filling, command: "sleep 300", timeoutMs: 60_000 });
      const first = holder(sandbox.id);
      expect(first).toBeDefined();
      process.kill(first?.pid ?? 0, "SIGKILL");

      const ran = await run(sandbox, WAYS[0]?.program ?? "");

      expect(text(ran.stderr)).toContain("holds more than its 16 MiB");
      expect((await watch(sandbox, filling)).end).toMatchObject({ signal: "SIGXFSZ" });
      await eventually(() => holder(sandbox.id) === undefined, "the watcher has ended");
      await provider.remove(sandbox.id);
    });

    test("the first watcher of a workspace that was restored beyond its bound looks for growth only", async () => {
      const sandbox: Sandbox = await provider.open(newId(), { diskMiB: 16 });
      await sandbox.writeFile("big", Buffer.alloc(24 * 1024 * 1024));
      writeFileSync(path.join(root, sandbox.id, "used"), String(held(sandbox.id)));

      const ran = await run(sandbox, "sleep 1; echo well");

      expect(text(ran.stdout)).toBe("well\n");
      expect(Number(readFileSync(path.join(root, sandbox.id, "used"), "utf8"))).toBeGreaterThan(16 * 1024);
      await provider.remove(sandbox.id);
    });
  },
);
