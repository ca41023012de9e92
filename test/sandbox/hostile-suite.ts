/** Runs every hostile program in a sandbox of its own, next to a host full of things to find, and prints what became of each. */
import { execFileSync, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SandboxProvider } from "../../sandbox/provider.ts";
import { bytes, eventually, newCallId, processesWith, run, text, watch } from "./commands.ts";
import { HOSTILE_PROGRAMS, type HostileProgram, type HostileWorld } from "./hostile.ts";

export interface HostileGiven {
  readonly provider: SandboxProvider;
  /** Where the provider keeps its sandboxes on this host, if it does. */
  readonly root: string;
  /** Programs that do what they want to here, by design, and what comes of it. */
  readonly known?: Readonly<Record<string, string>>;
}

interface Prepared {
  readonly world: HostileWorld;
  readonly connections: () => number;
  readonly end: () => Promise<void>;
}

/** Without it a test that was skipped inside would look like one that held. */
const SKIPPED = /^skipped: (.*)$/m;

export function describeHostile(name: string, make: () => HostileGiven | Promise<HostileGiven>): void {
  describe.concurrent(`hostile programs in ${name}`, { timeout: 90_000 }, () => {
    let given: HostileGiven;
    let prepared: Prepared;
    const results: [program: string, result: string][] = [];
    beforeAll(async () => {
      given = await make();
      prepared = await prepare(given);
    }, 60_000);
    afterAll(async () => {
      const width = Math.max(...results.map(([program]) => program.length));
      const rows = results.map(([program, result]) => `  ${program.padEnd(width)}  ${result}`);
      process.stdout.write(`\nhostile programs in ${name}\n${rows.join("\n")}\n\n`);
      await prepared.end();
    }, 60_000);

    for (const program of HOSTILE_PROGRAMS) {
      test(program.name, async ({ skip }) => {
        const reason = program.skip?.(given.provider.capabilities, prepared.world);
        const tried =
          reason === undefined ? await attempt(program, given, prepared.world).catch(failure) : `skipped: ${reason}`;
        const known = given.known?.[program.name];
        const result = known !== undefined && !/^(held|skipped)/.test(tried) ? `skipped: ${known}` : tried;
        results.push([program.name, result]);
        skip(SKIPPED.test(result), result);
        expect(result).toMatch(/^held/);
      });
    }

    test("hide from the sandbox's end", async () => {
      const mark = `7${Math.floor(Math.random() * 1e9)}`;
      const sandbox = await given.provider.open(`sbx_${randomUUID()}`);
      await run(
        sandbox,
        `(trap '' TERM HUP INT; exec setsid sh -c 'setsid sleep ${mark} & exec setsid sleep ${mark}') & true`,
      );
      await given.provider.remove(sandbox.id);

      await eventually(() => processesWith(mark).length === 0, "all that was hidden is gone");
      results.push(["hide from the sandbox's end", "held"]);
    });

    test("and after all of them nobody has reached the host, and the other sandbox goes on", async () => {
      await eventually(() => results.length > HOSTILE_PROGRAMS.length, "all programs have ended");
      expect(prepared.connections()).toBe(0);
      expect(text(await prepared.world.other.readFile("secret"))).toContain(prepared.world.mark.join(""));
      expect((await run(prepared.world.other, "echo well")).end).toMatchObject({ ended: "exited", exitCode: 0 });
    }, 120_000);
  });
}

async function attempt(program: HostileProgram, { provider }: HostileGiven, world: HostileWorld): Promise<string> {
  const sandbox = await provider.open(`sbx_${randomUUID()}`, program.spec);
  try {
    const callId = newCallId();
    const command = program.command(world, sandbox.spoolPath(callId, "stdout"));
    await sandbox.start({ callId, command, timeoutMs: program.timeoutMs ?? 15_000 });
    const { stdout, stderr, end } = await watch(sandbox, callId);
    const output = `${text(stdout.subarray(0, 100_000))}\n${text(stderr.subarray(0, 100_000))}`;
    const skipped = SKIPPED.exec(output);
    if (skipped) return skipped[0];
    const attempted = { sandbox, output, end, callId };
    const hasBroken = output.includes(world.mark.join("")) || (await isBroken(program, attempted, world));
    const how = end?.ended === "exited" ? `exit ${end.exitCode}` : end?.ended === "signalled" ? end.signal : end?.ended;
    return hasBroken ? `BROKE OUT (${how}): ${output.trim().slice(0, 600)}` : `held (${how})`;
  } finally {
    await provider.remove(sandbox.id);
  }
}

function failure(thrown: unknown): string {
  return `failed: ${thrown instanceof Error ? thrown.message : thrown}`;
}

async function isBroken(
  { broke }: HostileProgram,
  attempted: Parameters<Exclude<NonNullable<HostileProgram["broke"]>, RegExp>>[0],
  world: HostileWorld,
): Promise<boolean> {
  if (broke === undefined) return false;
  return broke instanceof RegExp ? broke.test(attempted.output) : await broke(attempted, world);
}

async function prepare({ provider, root }: HostileGiven): Promise<Prepared> {
  const mark = [`mark${randomBytes(6).toString("hex")}`, randomBytes(6).toString("hex")] as const;
  const whole = mark.join("");
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-hostile-"));
  chmodSync(folder, 0o755);
  const secretFile = path.join(folder, "secret-of-the-host");
  writeFileSync(secretFile, whole, { mode: 0o644 });
  let connections = 0;
  const answer = (socket: net.Socket): void => {
    connections += 1;
    socket.on("error", () => undefined).end(whole);
  };
  const listener = net.createServer(answer);
  const port = await new Promise<number>((resolve) => {
    listener.listen(0, "127.0.0.1", () => resolve((listener.address() as net.AddressInfo).port));
  });
  const abstract = net.createServer(answer);
  await new Promise<void>((resolve) => abstract.listen(`\0perdure-hostile-${port}`, resolve));
  // As a worker would be: a process with a secret in its environment.
  const victim = spawn("sleep", ["3600"], { env: { PERDURE_SECRET_KEY: whole }, stdio: "ignore" });
  const namespace = makeNamespace(whole);
  const other = await provider.open(`sbx_${randomUUID()}`);
  await other.writeFile("secret", bytes(whole));
  await other.start({ callId: newCallId(), command: `exec -a ${whole} sleep 3600`, timeoutMs: 3_600_000 });
  return {
    world: { mark, secretFile, root, port, elsewhere: namespace?.address, other },
    connections: () => connections,
    async end() {
      await provider.remove(other.id);
      victim.kill("SIGKILL");
      namespace?.end();
      listener.close();
      abstract.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A network namespace with a listener that this host reaches over a pair of interfaces; undefined where that cannot be made. */
function makeNamespace(whole: string) {
  const name = `pdh${process.pid}`;
  const [ours, theirs] = [`${name}a`, `${name}b`];
  const net24 = `10.231.${process.pid % 250}`;
  const ip = (...args: readonly string[]) => execFileSync("ip", args, { stdio: "ignore" });
  try {
    ip("netns", "add", name);
    ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name);
    ip("addr", "add", `${net24}.1/30`, "dev", ours);
    ip("link", "set", ours, "up");
    ip("-n", name, "addr", "add", `${net24}.2/30`, "dev", theirs);
    ip("-n", name, "link", "set", theirs, "up");
    const program = `require("net").createServer((s) => s.on("error", () => {}).end(${JSON.stringify(whole)})).listen(7777)`;
    const listener = spawn("ip", ["netns", "exec", name, process.execPath, "-e", program], { stdio: "ignore" });
    return {
      address: { host: `${net24}.2`, port: 7_777 },
      end: () => {
        listener.kill("SIGKILL");
        ip("netns", "del", name);
      },
    };
  } catch {
    try {
      ip("netns", "del", name);
    } catch {
      // There is none.
    }
    return undefined;
  }
}
