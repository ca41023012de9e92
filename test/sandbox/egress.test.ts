/** The proxy's process: one per sandbox, tied to nobody, back after every death, gone with its folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import os from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { processes } from "../../sandbox/call-folder.ts";
import { type DetachedScript, spawnDetached } from "../../sandbox/detached.ts";
import { readDecisions } from "../../sandbox/egress/decisions.ts";
import { gateFolder, proxyPlace, SOCKET_NAME, startEgress, stopEgress } from "../../sandbox/egress/egress.ts";
import { readHolder } from "../../sandbox/egress/holder.ts";
import { SandboxError } from "../../sandbox/provider.ts";
import { eventually } from "./commands.ts";
import { everything, openOrigin } from "./egress-gate.ts";

const STARTER = path.resolve(import.meta.dirname, "egress-starter.ts");
const isLinux = process.platform === "linux";

describe
  .skipIf(!isLinux)
  .concurrent(`the proxy of a sandbox${isLinux ? "" : " (skipped: Linux only)"}`, { timeout: 30_000 }, () => {
    test("is one process for 50 that start it at once, and for those that come later", async () => {
      await using place = aSandboxFolder();
      let runs = 0;
      const run = (script: DetachedScript): Promise<void> => {
        runs += 1;
        return spawnDetached(script);
      };
      await Promise.all(
        Array.from({ length: 50 }, () => startEgress({ folder: place.folder, allow: ["a.test"], run })),
      );
      const holder = readHolder(proxyPlace(place.folder));
      expect(proxiesOf(place.folder)).toEqual([holder?.pid]);

      const before = runs;
      for (let n = 0; n < 20; n += 1) await startEgress({ folder: place.folder, allow: ["a.test"], run });
      expect(runs).toBe(before);
      expect(await ask(place.folder, "b.test:443")).toMatch(/^HTTP\/1\.1 403 .*may reach only a\.test/);
    });

    test("has nothing of its starter's environment", async () => {
      await using place = aSandboxFolder();
      process.env["PERDURE_TEST_KEY"] = "not for others";
      await startEgress({ folder: place.folder, allow: [] });
      delete process.env["PERDURE_TEST_KEY"];
      const environment = readFileSync(`/proc/${readHolder(proxyPlace(place.folder))?.pid}/environ`, "latin1");
      expect(
        environment
          .split("\0")
          .filter(Boolean)
          .map((one) => one.split("=")[0])
          .filter((name) => name !== "PWD" && name !== "_" && name !== "OLDPWD" && name !== "SHLVL"),
      ).toEqual(["PATH"]);
    });

    test("outlives the process that started it, and the connections through it", async () => {
      await using place = aSandboxFolder();
      await using origin = await openOrigin((socket) => {
        socket.on("data", (data) => data.includes("go on") && socket.end("all of it"));
      });
      const to = `127.0.0.1:${origin.port}`;
      const starter = startElsewhere(place.folder, to);
      await starter.says("started");
      const client = connect(path.join(gateFolder(place.folder), SOCKET_NAME));
      client.write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\nbegin\r\n\r\n`);
      await everything(client, "Established\r\n\r\n");

      await starter.kill();
      client.write("go on");

      expect(await everything(client)).toBe("all of it");
      const pid = readHolder(proxyPlace(place.folder))?.pid;
      await startEgress({ folder: place.folder, allow: [to] });
      expect(readHolder(proxyPlace(place.folder))?.pid).toBe(pid);
    });

    test("comes whenever its starter is killed: none, or one", async () => {
      await using place = aSandboxFolder();
      for (const waitMs of [0, 10, 60]) {
        const starter = startElsewhere(place.folder, "a.test");
        await starter.says("begun");
        const until = Date.now() + waitMs;
        await eventually(() => Date.now() >= until || readHolder(proxyPlace(place.folder)) !== undefined, "the moment");
        await starter.kill();
        await startEgress({ folder: place.folder, allow: ["a.test"] });
        expect(proxiesOf(place.folder)).toEqual([readHolder(proxyPlace(place.folder))?.pid]);
        await stopEgress(place.folder);
      }
    });

    test("is followed by another when it was killed, with its list and its record", async () => {
      await using place = aSandboxFolder();
      await startEgress({ folder: place.folder, allow: ["a.test"] });
      await ask(place.folder, "one.test:443");
      const first = readHolder(proxyPlace(place.folder))?.pid ?? 0;
      await killHard(first);

      // What it was started with stands.
      await Promise.all([1, 2, 3].map(() => startEgress({ folder: place.folder, allow: ["other.test"] })));

      const second = readHolder(proxyPlace(place.folder))?.pid;
      expect(second).not.toBe(first);
      expect(proxiesOf(place.folder)).toEqual([second]);
      expect(await ask(place.folder, "two.test:443")).toMatch(/may reach only a\.test/);
      expect(readDecisions(place.folder, 0).decisions.map(({ host }) => host)).toEqual(["one.test", "two.test"]);
    });

    test.each<[string, (self: string) => string]>([
      ["is garbage", () => "\0\0 \n"],
      ["is cut off", (self) => self.slice(0, -3)],
      ["has a pid that was given to another process since", (self) => self.replace(/^(\d+) \d+/, "$1 1")],
      ["is of another boot", (self) => self.replace(/\S+ \.\n$/, "00000000-0000-0000-0000-000000000000 .\n")],
      ["has a pid that signals many", (self) => self.replace(/^\d+/, "-1")],
    ])("passes over a claim that %s", async (_what, spoil) => {
      await using place = await aSandboxFolder();
      const claims = path.join(proxyPlace(place.folder), "claims");
      mkdirSync(claims, { recursive: true });
      for (const name of ["gate", "decisions"]) mkdirSync(path.join(place.folder, "egress", name));
      writeFileSync(path.join(place.folder, "egress", "allow.json"), "[]");
      const stat = readFileSync("/proc/self/stat", "utf8");
      const startedAt = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
      writeFileSync(path.join(claims, "100000041"), spoil(`${process.pid} ${startedAt} ${boot} .\n`));
      await startEgress({ folder: place.folder, allow: [] });
      expect(readHolder(proxyPlace(place.folder))?.number).toBe("100000042");
      expect(readdirSync(claims)).toEqual(["100000042"]);
    });

    test("ends by stopEgress, also a stopped one, and stopping none is no error", async () => {
      await using place = aSandboxFolder();
      await stopEgress(place.folder);
      await startEgress({ folder: place.folder, allow: [] });
      await stopEgress(place.folder);
      await stopEgress(place.folder);
      expect(proxiesOf(place.folder)).toEqual([]);
      await startEgress({ folder: place.folder, allow: [] });
      expect(await ask(place.folder, "a.test:443")).toMatch(/may reach no host/);
    });

    test.each(["removed", "renamed", "made anew"])("ends by itself soon after its folder was %s", async (how) => {
      await using place = aSandboxFolder();
      await startEgress({ folder: place.folder, allow: [] });
      const pid = readHolder(proxyPlace(place.folder))?.pid ?? 0;
      if (how === "renamed") renameSync(place.folder, `${place.folder}-elsewhere`);
      else rmSync(place.folder, { recursive: true });
      if (how === "made anew") mkdirSync(proxyPlace(place.folder), { recursive: true });
      await eventually(() => !existsSync(`/proc/${pid}`), "the proxy is gone");
      rmSync(`${place.folder}-elsewhere`, { recursive: true, force: true });
    });

    test("works in a folder that is too deep for a socket's name", async () => {
      await using place = aSandboxFolder();
      const folder = path.join(place.folder, "d".repeat(120), "e".repeat(120));
      mkdirSync(folder, { recursive: true });
      await startEgress({ folder, allow: [] });
      const gate = path.join(place.folder, "g");
      renameSync(gateFolder(folder), gate);
      expect(await everything(dial(path.join(gate, SOCKET_NAME), "a.test:443"))).toMatch(/^HTTP\/1\.1 403 /);
      await stopEgress(folder);
    });

    test("shows nothing but its socket in the folder that is shown inside", async () => {
      await using place = aSandboxFolder();
      await startEgress({ folder: place.folder, allow: [] });
      await killHard(readHolder(proxyPlace(place.folder))?.pid ?? 0);
      await startEgress({ folder: place.folder, allow: [] });
      expect(readdirSync(gateFolder(place.folder))).toEqual([SOCKET_NAME]);
    });
  });

describe("a proxy that cannot be", () => {
  test("because the sandbox is gone is told as lost", async () => {
    await using place = aSandboxFolder();
    rmSync(place.folder, { recursive: true });
    await expect(startEgress({ folder: place.folder, allow: [] })).rejects.toMatchObject({ kind: "lost" });
    expect(existsSync(place.folder)).toBe(false);
  });

  test("because of its list is told so before anything is made", async () => {
    await using place = aSandboxFolder();
    await expect(startEgress({ folder: place.folder, allow: ["*"] })).rejects.toThrow(/network list has "\*"/);
    expect(readdirSync(place.folder)).toEqual([]);
  });

  test("because no process can be made is told in words", async () => {
    await using place = aSandboxFolder();
    const run = (): Promise<void> => Promise.reject(new Error("EAGAIN"));
    await expect(startEgress({ folder: place.folder, allow: [], run })).rejects.toThrow(SandboxError);
  });

  test("because its program ends at once is told in words, soon", async () => {
    await using place = aSandboxFolder();
    const run = async (): Promise<void> => undefined;
    await expect(startEgress({ folder: place.folder, allow: [], run })).rejects.toThrow(/did not start/);
  });
});

function aSandboxFolder(): AsyncDisposable & { readonly folder: string } {
  const folder = mkdtempSync(path.join(os.tmpdir(), "egress-"));
  return {
    folder,
    async [Symbol.asyncDispose]() {
      await stopEgress(folder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function killHard(pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  await eventually(() => !existsSync(`/proc/${pid}`), "the process is gone");
}

/** Processes that serve this folder, by their command lines. */
function proxiesOf(folder: string): readonly number[] {
  return processes().filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return line.some((word) => word.includes("proxy-process")) && line.includes(folder) && !line.includes("-c");
    } catch {
      return false;
    }
  });
}

function dial(socketPath: string, target: string): ReturnType<typeof connect> {
  const client = connect(socketPath);
  client.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  return client;
}

async function ask(folder: string, target: string): Promise<string> {
  return await everything(dial(path.join(gateFolder(folder), SOCKET_NAME), target));
}

function startElsewhere(folder: string, allow: string): { says(line: string): Promise<void>; kill(): Promise<void> } {
  const child: ChildProcess = spawn(process.execPath, ["--no-warnings", STARTER, folder, allow], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout?.setEncoding("utf8").on("data", (data: string) => {
    printed += data;
  });
  return {
    says: (line) => eventually(() => printed.includes(`${line}\n`), `the starter says ${line}`),
    async kill() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}
