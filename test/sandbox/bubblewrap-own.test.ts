/** What is bubblewrap's own: its limits and which hold, the way through the proxy, its view of paths, what a removal leaves. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { findCgroupPlaces } from "../../sandbox/cgroup.ts";
import { bytes, eventually, newCallId, processesWith, run, startedCommand, text } from "./commands.ts";

const found = await detectBubblewrap();
const places = findCgroupPlaces();
const hasCgroups = places.folders.memory !== undefined && places.folders.pids !== undefined;
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-bubblewrap-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const provider = createBubblewrapProvider({
  root,
  hostEnvironment: { PATH: "/secret/bin:/bin", USER: "somebody", API_KEY: "secret", TZ: "UTC" },
});
const HUNGRY = "x=$(head -c 150000000 /dev/zero | tr '\\0' x); echo took";
let count = 0;
const newId = (): SandboxId => `sbx_own_${process.pid}_${++count}`;

test("where it cannot work the reason is said in words", async () => {
  expect(await detectBubblewrap({ platform: "darwin" })).toEqual({
    works: false,
    reason: "bubblewrap needs Linux, and this is darwin",
  });
  expect(await detectBubblewrap({ searchPath: "/nowhere" })).toMatchObject({
    works: false,
    reason: /^bwrap is not installed/,
  });
});

describe.skipIf(!found.works)(
  found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
  { timeout: 60_000, concurrent: true },
  () => {
    test("a command is nobody special on a host of its own", async () => {
      const sandbox = await provider.open(newId());

      const ran = await run(
        sandbox,
        "id -u; id -un; hostname; echo $HOME $PATH $USER $TMPDIR; pwd; env | grep -c -i secret; ls /; cat /proc/net/dev | grep -c :",
      );

      expect(text(ran.stdout).split("\n").slice(0, 6)).toEqual([
        "1000",
        "sandbox",
        "perdure",
        "/workspace /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sandbox /tmp",
        "/workspace",
        "0",
      ]);
      expect(text(ran.stdout)).toMatch(/\n1\n$/);
      expect(sandbox.workspace).toBe("/workspace");
      await provider.remove(sandbox.id);
    });

    test("paths are those of inside, for symlinks too", async () => {
      const sandbox = await provider.open(newId());
      await run(
        sandbox,
        "mkdir d; echo x > d/f; ln -s /workspace/d abs; ln -s /workspace/d/f file; ln -s ../workspace/d round; ln -s /etc out; ln -s /workspace/new hop",
      );
      const host = path.join(root, sandbox.id, "workspace");

      for (const name of ["abs/f", "file", "round/f", "/workspace/d/f"])
        expect([name, text(await sandbox.readFile(name))]).toEqual([name, "x\n"]);
      await sandbox.writeFile("hop", bytes("1"));
      expect(text(await sandbox.readFile("new"))).toBe("1");
      expect(text((await run(sandbox, "pwd -P; ls", { cwd: "abs" })).stdout)).toBe("/workspace/d\nf\n");
      for (const hostile of ["out/passwd", `${host}/d/f`, "/workspace/../etc/passwd", "/perdure/calls/../spec.json"]) {
        await expect(sandbox.readFile(hostile)).rejects.toMatchObject({ kind: "denied" });
      }
      await provider.remove(sandbox.id);
    });

    test("the spec of the first open stands, for every process", async () => {
      const id = newId();
      await provider.open(id, { memoryMiB: 64, processesMax: 50 });
      const again = await createBubblewrapProvider({ root }).open(id, {
        memoryMiB: 9_999,
        network: { allow: ["example.com"] },
      });

      await run(again, "true");

      expect(JSON.parse(readFileSync(path.join(root, id, "spec.json"), "utf8")).spec).toEqual({
        memoryMiB: 64,
        processesMax: 50,
      });
      expect(existsSync(path.join(root, id, "egress"))).toBe(false);
      await provider.remove(id);
    });

    test.skipIf(!hasCgroups)(
      `too much memory, processes and time of processors are held by cgroups${hasCgroups ? "" : " (skipped: none can be written here)"}`,
      async () => {
        const sandbox = await provider.open(newId(), { memoryMiB: 64, processesMax: 40, cpu: 0.2 });
        expect(provider.capabilities).toMatchObject({ memory: "cgroup", processes: "cgroup" });

        const hungry = await run(sandbox, HUNGRY);
        const busy = await run(
          sandbox,
          "timeout 2 sh -c 'while :; do :; done'; awk '{print $1}' /proc/self/stat >/dev/null; cat /proc/uptime >/dev/null; times",
        );
        const many = await run(
          sandbox,
          "sh -c 'i=0; while [ $i -lt 100 ]; do sleep 3 & i=$((i+1)); done' 2>/dev/null; set -- /proc/[0-9]*; echo $#",
        );

        expect(hungry.end).toMatchObject({ ended: "signalled", signal: "SIGKILL" });
        expect(Number(/(\d+)\n$/.exec(text(many.stdout))?.[1])).toBeLessThanOrEqual(40);
        if (places.folders.cpu !== undefined) {
          const used = /0m([\d.]+)s 0m([\d.]+)s\n$/.exec(text(busy.stdout));
          expect(Number(used?.[1]) + Number(used?.[2])).toBeLessThan(1.2);
        }
        await provider.remove(sandbox.id);
      },
    );

    test("without cgroups each process has its limit, and the capabilities say so", async () => {
      const bare = createBubblewrapProvider({ root, cgroups: { version: 1, folders: {} } });
      const sandbox = await bare.open(newId(), { memoryMiB: 64 });

      const ran = await run(sandbox, HUNGRY);

      expect(bare.capabilities).toMatchObject({
        memory: "prlimit",
        cpu: "none",
        processes: process.getuid?.() === 0 ? "none" : "prlimit",
      });
      expect(ran.end).toMatchObject({ ended: "exited" });
      expect(text(ran.stdout)).not.toContain("took");
      expect((await run(sandbox, "echo well")).end).toMatchObject({ exitCode: 0 });
      await bare.remove(sandbox.id);
    });

    test("a host of the list is reached through the proxy, another is refused, and both are told", async () => {
      const server = http.createServer((_, answer) => answer.end("hello from outside\n"));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      const sandbox = await provider.open(newId(), { network: { allow: [`127.0.0.1:${port}`] } });

      const allowed = await run(sandbox, `NO_PROXY= no_proxy= curl -sS -m 10 http://127.0.0.1:${port}/; exit 5`);
      const refused = await run(
        sandbox,
        "NO_PROXY= no_proxy= curl -sS -m 10 -o /dev/null -w '%{http_code}' http://refused.invalid/",
      );

      expect(text(allowed.stdout)).toBe("hello from outside\n");
      expect(allowed.end).toMatchObject({ ended: "exited", exitCode: 5 });
      expect(text(refused.stdout)).toBe("403");
      const { decisions, next } = await sandbox.networkDecisions(0);
      expect(decisions).toMatchObject([
        { host: "127.0.0.1", port, decision: "allow" },
        { host: "refused.invalid", port: 80, decision: "deny" },
      ]);
      expect(await sandbox.networkDecisions(next)).toEqual({ decisions: [], next });
      await eventually(() => processesWith(sandbox.id).length === 1, "only the proxy is left when no command runs");
      await provider.remove(sandbox.id);
      expect(processesWith(sandbox.id)).toEqual([]);
      server.close();
    });

    test("with a network a command hears TERM, keeps its variables, and its daemons keep the way out", async () => {
      const sandbox = await provider.open(newId(), { network: { allow: ["127.0.0.1:9"] } });
      const callId = await startedCommand(
        sandbox,
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done",
      );
      await sandbox.kill(callId);
      const mark = `6${Math.floor(Math.random() * 1e9)}`;

      const ran = await run(sandbox, `(exec setsid sleep ${mark}) & echo "$A $https_proxy"; exit 9`, {
        environment: { A: 'it\'s "a"' },
      });

      expect(text(await sandbox.readFile(sandbox.spoolPath(callId, "stdout")))).toBe("up\nbye\n");
      expect(text(ran.stdout)).toBe('it\'s "a" http://127.0.0.1:3128\n');
      expect(ran.end).toMatchObject({ ended: "exited", exitCode: 9 });
      expect(processesWith(mark)).not.toEqual([]);
      await provider.remove(sandbox.id);
      await eventually(() => processesWith(mark).length === 0, "the daemon is gone");
    });

    test("secrets are in no argument and in no file", async () => {
      const sandbox = await provider.open(newId());
      const secret = `hush${Math.random().toString(36).slice(2)}`;
      const callId = newCallId();
      await sandbox.start({
        callId,
        command: 'printf %s "$TOKEN" | wc -c; while [ ! -e stop ]; do sleep 0.05; done',
        timeoutMs: 20_000,
        secrets: { TOKEN: secret },
      });
      await eventually(
        async () => (await sandbox.stat(sandbox.spoolPath(callId, "stdout")))?.bytes === 3,
        "it has begun",
      );

      expect(processesWith(secret)).toEqual([]);
      const files = readdirSync(path.join(root, sandbox.id), { recursive: true, withFileTypes: true });
      for (const file of files.filter((one) => one.isFile())) {
        expect(readFileSync(path.join(file.parentPath, file.name), "utf8")).not.toContain(secret);
      }
      await provider.remove(sandbox.id);
    });

    test("folders that the operator names are shown read-only", async () => {
      const shown = mkdtempSync(path.join(os.tmpdir(), "perdure-shown-"));
      writeFileSync(path.join(shown, "tool"), "tool\n");
      const wide = createBubblewrapProvider({ root, readOnly: [shown] });
      const sandbox = await wide.open(newId());

      const ran = await run(sandbox, `cat ${shown}/tool; touch ${shown}/x 2>/dev/null || echo refused`);

      expect(text(ran.stdout)).toBe("tool\nrefused\n");
      await wide.remove(sandbox.id);
      rmSync(shown, { recursive: true });
      expect(() => createBubblewrapProvider({ root, readOnly: ["/"] })).toThrow(/expected absolute folders/);
    });

    test("a removal leaves no process, no cgroup and no mount", async () => {
      const sandbox = await provider.open(newId());
      const mark = `5${Math.floor(Math.random() * 1e9)}`;
      await run(sandbox, `(trap '' TERM; setsid sh -c 'setsid sleep ${mark} & sleep ${mark}') & true`);
      await eventually(() => processesWith(mark).length > 0, "it runs");

      await provider.remove(sandbox.id);

      expect(processesWith(mark)).toEqual([]);
      const cgroups = Object.values(places.folders).flatMap((folder) => readdirSync(folder));
      expect(cgroups.filter((name) => name.includes(sandbox.id))).toEqual([]);
      expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(sandbox.id);
      expect(existsSync(path.join(root, sandbox.id))).toBe(false);
    });
  },
);
