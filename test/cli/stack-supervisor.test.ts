/** The supervisor as a process with a real Temporal: its one line, its end, a killed Temporal, a killed supervisor, a half-made database. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isServing } from "../../cli/grpc-health.ts";
import { isRunning, StateFolder, startSupervisor, type TestSupervisor, until } from "./fixtures/world.ts";

test("npm start prints one line when all is ready, and SIGTERM ends everything", async () => {
  using state = new StateFolder();
  await using supervisor = startSupervisor(state);

  const line = await supervisor.ready();
  const pids = state.entries().map(({ pid }) => pid);
  process.kill(supervisor.pid, "SIGTERM");

  expect(await supervisor.exited).toBe(0);
  expect(supervisor.stdout()).toBe(line);
  expect(line).toMatch(/^perdure ready: api http:\/\/127\.0\.0\.1:\d+ temporal 127\.0\.0\.1:\d+ ui -\n$/);
  expect(pids).toHaveLength(3);
  expect(pids.filter(isRunning)).toEqual([]);
  expect(state.entries()).toEqual([]);
});

test("nothing of Temporal answers a browser, and with --ui only what is asked by the user's own name for it", async () => {
  using state = new StateFolder();
  await using supervisor = startSupervisor(state, {}, "--ui");
  const [, ui = ""] = /ui (http:\S+)\n/.exec(await supervisor.ready()) ?? [];

  expect((await fetch(`${ui}/`)).status).toBe(200);
  expect((await fetch(`${ui}/`, { headers: { "sec-fetch-site": "cross-site" } })).status).toBe(403);
  const statuses = [];
  // Its frontend answers before its inner services listen.
  const places = await until("all its services listen", () => {
    const found = listening(state.pid("temporal")).filter(({ host }) => host === "127.0.0.1");
    return found.length < SERVICES ? undefined : found;
  });
  for (const { host, port } of places) {
    for (const init of ATTACKS) {
      const url = `http://${host}:${port}/api/v1/namespaces/default/workflows/victim`;
      statuses.push(
        await fetch(url, { ...init, signal: AbortSignal.timeout(2_000) }).then(
          (a) => a.status,
          () => "no HTTP",
        ),
      );
    }
  }
  // 404: the port of the metrics; 501: a method that the API has not.
  expect(statuses.filter((status) => !["no HTTP", 403, 404, 501].includes(status))).toEqual([]);
});

/** Frontend, history, matching and worker; the official build listens for metrics and its HTTP API as well. */
const SERVICES = 4;

/** What a page of any site may send without being asked. */
const ATTACKS: readonly RequestInit[] = [
  { method: "POST", headers: { "content-type": "text/plain" }, body: '{"workflowType":{"name":"purgeSession"}}' },
  { method: "GET" },
];

/** Where a process listens, by what the kernel says. */
function listening(pid: number): readonly { readonly host: string; readonly port: number }[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // Closed meanwhile.
      }
    }),
  );
  const rows = readFileSync(`/proc/${pid}/net/tcp`, "utf8").split("\n").slice(1);
  return rows.flatMap((row) => {
    const [, local = "", , state, , , , , , inode = ""] = row.trim().split(/\s+/);
    const [address = "", port = ""] = local.split(":");
    if (state !== "0A" || !inodes.has(inode)) return [];
    const bytes = address.match(/../g)?.reverse() ?? [];
    return [{ host: bytes.map((byte) => Number.parseInt(byte, 16)).join("."), port: Number.parseInt(port, 16) }];
  });
}

test("a killed Temporal comes back at its address, with its database", async () => {
  using state = new StateFolder();
  await using supervisor = startSupervisor(state);
  const address = temporalOf(await supervisor.ready());
  const database = statSync(state.file("temporal.db")).ino;
  const before = state.pid("temporal");

  process.kill(before, "SIGKILL");
  await until("it is in the list again", () =>
    state.entries().find(({ name, pid }) => name === "temporal" && pid !== before),
  );
  await until("it serves again", () => isServing(address));

  expect(statSync(state.file("temporal.db")).ino).toBe(database);
  expect(state.entries().map(({ name, restarts }) => [name, restarts])).toEqual([
    ["temporal", 1],
    ["worker", 0],
    ["api", 0],
  ]);
  await until("the guard of the old one is gone", () => guards(before).length === 0);
});

test("when the supervisor is killed, worker, api and Temporal end by themselves", async () => {
  using state = new StateFolder();
  await using supervisor = startSupervisor(state);
  await supervisor.ready();
  const pids = state.entries().map(({ pid }) => pid);

  process.kill(supervisor.pid, "SIGKILL");
  await supervisor.exited;

  await until("all are gone", () => !pids.some(isRunning));
  await until("the guard is gone", () => guards(pids[0] ?? 0).length === 0);
});

test("a database that was killed while it was being made is begun anew", async () => {
  using state = new StateFolder();
  await using first = startSupervisor(state);
  await first.ready();
  await stop(first);
  // What a kill in the first 100 ms leaves: a file that is there, never confirmed, and that no server can open.
  rmSync(state.file("temporal.db.ok"));
  for (const name of ["temporal.db", "temporal.db-wal"]) writeFileSync(state.file(name), "half a schema");

  await using second = startSupervisor(state);

  await second.ready();
  expect(readFileSync(state.file("temporal.db.ok"), "utf8")).not.toBe("");
  expect(state.entries().find(({ name }) => name === "temporal")).toMatchObject({ restarts: 0 });
});

function temporalOf(line: string): string {
  return /temporal (\S+)/.exec(line)?.[1] ?? "";
}

async function stop(supervisor: TestSupervisor): Promise<void> {
  process.kill(supervisor.pid, "SIGTERM");
  await supervisor.exited;
}

/** The watcher that stands beside a Temporal server has that server as its parent, or none of ours, and our name. */
function guards(temporal: number): string[] {
  const all = execFileSync("ps", ["-eo", "pid=,ppid=,pgid=,args="], { encoding: "utf8" }).split("\n");
  return all.filter((line) => line.includes("perdure-temporal") && line.trim().split(/\s+/)[2] === String(temporal));
}
