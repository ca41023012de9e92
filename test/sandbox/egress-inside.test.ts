/** End to end from inside a network namespace: through the relay to what is on the list, and to nothing else by no other way. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { readDecisions } from "../../sandbox/egress/decisions.ts";
import { proxyPlace, SOCKET_NAME, startEgress, stopEgress } from "../../sandbox/egress/egress.ts";
import { readHolder } from "../../sandbox/egress/holder.ts";
import {
  proxyVariables,
  relayBinds,
  relayPrelude,
  startContainerRelay,
  stopContainerRelay,
} from "../../sandbox/egress/relay.ts";
import { eventually } from "./commands.ts";
import { answerOk, type Origin, openOrigin } from "./egress-gate.ts";

const noBubblewrap = whyNot("bwrap", ["--unshare-all", "--ro-bind", "/", "/", "true"]);
const noNamespace = whyNot("nsenter", ["--net=/proc/self/ns/net", "unshare", "-n", "ip", "link", "set", "lo", "up"]);
const noCurl = whyNot("curl", ["--version"]);

describe
  .skipIf(noBubblewrap || noCurl)
  .concurrent(`a command in bubblewrap${skipped(noBubblewrap ?? noCurl)}`, { timeout: 30_000 }, () => {
    test("reaches a listed server by way of the relay, and no other", async () => {
      await using place = await aPlace();
      const { port } = place.origin;

      const { stdout } = await inside(
        place,
        [
          // 127.0.0.1 is here the sandbox's own, so the proxy is asked in spite of NO_PROXY.
          `curl -sS --noproxy '' http://127.0.0.1:${port}/ && echo`,
          `curl -sS --noproxy '' --proxytunnel http://127.0.0.1:${port}/ && echo`,
          "curl -sS http://evil.test/",
          "curl -sS https://evil.test/ 2>&1",
          `curl -sS --noproxy '' http://127.0.0.2:${port}/`,
        ].join("\n"),
      );

      expect(stdout.split("\n").filter(Boolean)).toEqual([
        "hello",
        "hello",
        `this sandbox may reach only 127.0.0.1:${port}, localhost:${port}`,
        expect.stringMatching(/^curl: .*(?:CONNECT.*403|403.*CONNECT)/),
        `this sandbox may reach only 127.0.0.1:${port}, localhost:${port}`,
      ]);
      expect(
        readDecisions(place.folder, 0).decisions.map(({ host, port, decision }) => [host, port, decision]),
      ).toEqual([
        ["127.0.0.1", port, "allow"],
        ["evil.test", 80, "deny"],
        ["evil.test", 443, "deny"],
        ["127.0.0.2", port, "deny"],
      ]);
    });

    test("finds nobody around the proxy: no address, no name, no host's loopback", async () => {
      await using place = await aPlace();
      const { port } = place.origin;
      const script = [
        `curl -sS -m 3 --noproxy '*' http://127.0.0.1:${port}/ 2>&1`,
        `curl -sS -m 3 --noproxy '*' http://192.0.2.1/ 2>&1`,
        "getent hosts example.com && echo resolved",
        "ls /sys/class/net",
        "exit 0",
      ];
      const { stdout } = await inside(place, script.join("\n"));
      expect(stdout).not.toMatch(/hello|resolved|eth/);
      expect(stdout).toMatch(/Failed to connect to 127\.0\.0\.1|Couldn't connect to server/);
      expect(place.origin.heard).toEqual([]);
    });

    test("by Node finds the proxy by its variables", async () => {
      await using place = await aPlace();
      const { port } = place.origin;
      const program = `fetch("http://localhost.:${port}/").then(async (r) => console.log(await r.text()), (e) => console.log(e.cause ?? e))`;
      const { stdout } = await inside(place, `/perdure/relay/node --no-warnings -e '${program}'`);
      expect(stdout.trim()).toBe("hello");
    });

    test("goes on when the proxy was killed and is back, by the same relay", async () => {
      await using place = await aPlace();
      const { port } = place.origin;
      const fetching = `curl -sS --noproxy '' http://127.0.0.1:${port}/ 2>&1; echo`;
      const running = inside(place, `${fetching}\ntouch once\nuntil [ -e again ]; do sleep 0.05; done\n${fetching}`);
      await eventually(() => existsSync(path.join(place.workspace, "once")), "it was there once");

      const killed = readHolder(proxyPlace(place.folder))?.pid ?? 0;
      process.kill(killed, "SIGKILL");
      await eventually(() => !existsSync(`/proc/${killed}`), "the proxy is gone");
      await startEgress(place);
      execFileSync("touch", [path.join(place.workspace, "again")]);

      expect((await running).stdout.split("\n").filter(Boolean)).toEqual(["hello", "hello"]);
    });

    test("keeps its relay when it is sent TERM, knows its pid, and has none of its variables in it", async () => {
      await using place = await aPlace();
      const script = [
        "kill -TERM $relay; kill -INT $relay; kill -HUP $relay",
        "tr '\\0' '\\n' </proc/$relay/environ | grep -c PROXY",
        "ls -l /proc/$relay/fd | grep -c /dev/null",
        `curl -sS --noproxy '' http://127.0.0.1:${place.origin.port}/`,
      ];
      const { stdout } = await inside(place, script.join("\n"));
      expect(stdout.split("\n")).toEqual(["0", expect.stringMatching(/^[2-9]$/), "hello"]);
    });

    test("runs without a relay when that cannot start, and is refused at its port", async () => {
      await using place = await aPlace();
      const busy = '/perdure/relay/node -e \'require("net").createServer().listen(3128, "127.0.0.1")\' & sleep 0.5\n';
      const { stdout } = await inside(place, 'echo "relay: [$relay]"; kill %1', busy);
      expect(stdout.trim()).toBe("relay: []");
    });

    test("cannot replace the socket or what is beside it", async () => {
      await using place = await aPlace();
      const { stdout } = await inside(
        place,
        `rm -f /perdure/egress/${SOCKET_NAME} 2>&1; touch /perdure/egress/x 2>&1; echo x >/perdure/relay/node; ls /perdure/egress`,
      );
      expect(stdout).toMatch(/Read-only file system/);
      expect(stdout.trim().split("\n").at(-1)).toBe(SOCKET_NAME);
    });
  });

describe
  .skipIf(noNamespace || noCurl)
  .concurrent(`a container's network namespace${skipped(noNamespace ?? noCurl)}`, { timeout: 30_000 }, () => {
    test("gets one relay, whoever starts it, that reaches what is on the list", async () => {
      await using place = await aPlace();
      await using container = await aNamespace();
      await Promise.all([1, 2, 3, 4].map(() => startContainerRelay({ folder: place.folder, pid: container.pid })));

      expect(await container.fetch(`http://127.0.0.1:${place.origin.port}/`)).toBe("hello");
      expect(await container.fetch("http://evil.test/")).toMatch(/may reach only/);

      const first = readHolder(path.join(place.folder, "egress", "relay"))?.pid;
      await startContainerRelay({ folder: place.folder, pid: container.pid });
      expect(readHolder(path.join(place.folder, "egress", "relay"))?.pid).toBe(first);
    });

    test("of a container that was started anew gets a relay of its own", async () => {
      await using place = await aPlace();
      await using before = await aNamespace();
      await using after = await aNamespace();
      await startContainerRelay({ folder: place.folder, pid: before.pid });
      await startContainerRelay({ folder: place.folder, pid: after.pid });
      expect(await after.fetch(`http://127.0.0.1:${place.origin.port}/`)).toBe("hello");
      expect(await before.fetch(`http://127.0.0.1:${place.origin.port}/`)).not.toBe("hello");
    });

    test("is left by its relay when its process is gone, and by stopContainerRelay", async () => {
      await using place = await aPlace();
      await using container = await aNamespace();
      await startContainerRelay({ folder: place.folder, pid: container.pid });
      const first = readHolder(path.join(place.folder, "egress", "relay"))?.pid ?? 0;
      await stopContainerRelay(place.folder);
      expect(existsSync(`/proc/${first}`) && readFileSync(`/proc/${first}/cmdline`, "utf8")).toBeFalsy();

      await startContainerRelay({ folder: place.folder, pid: container.pid });
      const second = readHolder(path.join(place.folder, "egress", "relay"))?.pid ?? 0;
      await container[Symbol.asyncDispose]();
      await eventually(() => !existsSync(`/proc/${second}`), "the relay is gone");
      await expect(startContainerRelay({ folder: place.folder, pid: container.pid })).rejects.toMatchObject({
        kind: "lost",
      });
    });
  });

interface Place extends AsyncDisposable {
  readonly folder: string;
  readonly workspace: string;
  readonly origin: Origin;
  readonly allow: readonly string[];
}

async function aPlace(): Promise<Place> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "egress-"));
  const workspace = path.join(folder, "workspace");
  mkdirSync(workspace);
  const origin = await openOrigin(answerOk);
  const allow = [`127.0.0.1:${origin.port}`, `localhost:${origin.port}`];
  await startEgress({ folder, allow });
  return {
    ...{ folder, workspace, origin, allow },
    async [Symbol.asyncDispose]() {
      await stopContainerRelay(folder);
      await stopEgress(folder);
      await origin[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs lines of sh after the relay's, in namespaces of their own. `first` comes before the relay. */
async function inside(place: Place, script: string, first = ""): Promise<{ readonly stdout: string }> {
  const binds = relayBinds(place.folder).flatMap(({ source, target }) => ["--ro-bind", source, target]);
  const variables = Object.entries(proxyVariables()).flatMap(([name, value]) => ["--setenv", name, value]);
  const system = ["/usr", "/bin", "/lib", "/lib64", "/etc/alternatives"].filter((one) => existsSync(one));
  const arguments_ = [
    ...["--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"],
    ...system.flatMap((one) => ["--ro-bind", one, one]),
    ...[
      "--bind",
      place.workspace,
      "/workspace",
      "--chdir",
      "/workspace",
      "--clearenv",
      "--setenv",
      "PATH",
      "/usr/bin:/bin",
    ],
    ...[...variables, ...binds],
    ...["bash", "-c", `${first}${relayPrelude()}${script}`],
  ];
  return await promisify(execFile)("bwrap", arguments_, { timeout: 20_000 }).catch(
    (failed: { stdout: string; stderr: string; code: number }) => {
      if (typeof failed.stdout === "string" && failed.stdout !== "") return { stdout: failed.stdout };
      throw failed;
    },
  );
}

interface Namespace extends AsyncDisposable {
  readonly pid: number;
  fetch(url: string): Promise<string>;
}

/** A process in a network namespace of its own, as a container's first one is. */
async function aNamespace(): Promise<Namespace> {
  const child = spawn("unshare", ["-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 60"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (data: string) => {
    printed += data;
  });
  await eventually(() => printed.includes("up"), "the namespace is there");
  const pid = child.pid ?? 0;
  return {
    pid,
    async fetch(url) {
      const curl = ["curl", "-sS", "-m", "5", "--noproxy", "", "-x", proxyVariables()["http_proxy"] ?? "", url];
      const run = promisify(execFile)("nsenter", [`--net=/proc/${pid}/ns/net`, ...curl]);
      return (await run.catch((failed: { stderr: string }) => ({ stdout: failed.stderr }))).stdout.trim();
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await eventually(() => child.exitCode !== null || child.signalCode !== null, "the namespace's process is gone");
    },
  };
}

/** Why a program does not work here; undefined when it does. */
function whyNot(program: string, arguments_: readonly string[]): string | undefined {
  try {
    execFileSync(program, arguments_, { stdio: "ignore" });
    return undefined;
  } catch {
    return `${program} does not work here`;
  }
}

function skipped(reason: string | undefined): string {
  return reason === undefined ? "" : ` (skipped: ${reason})`;
}
