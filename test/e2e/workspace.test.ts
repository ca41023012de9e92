/** A workspace over HTTP with everything running: files both ways, archives, callers' commands over a kill -9, downloads. */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Command } from "../../contract/commands.ts";
import type { Downloaded } from "../../contract/downloads.ts";
import type { FileList } from "../../contract/http.ts";
import { aTarGz } from "../activities/archive-builder.ts";
import { processesOf } from "../support/stray-processes.ts";
import { type SessionClient, startWorld, type World, waitFor } from "../support/world.ts";

const MB = 1024 * 1024;

let world: World;
let files: Server;
let session: SessionClient;
let archive: Buffer;
/** Times that the archive was fetched. */
let fetched = 0;
beforeAll(async () => {
  archive = await aTarGz([
    { name: "top/a", content: "a" },
    { name: "top/b/c", content: "c" },
  ]);
  files = createServer((_request, response) => {
    fetched += 1;
    response.end(archive);
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  world = await startWorld({ env: { PERDURE_DOWNLOADS_ALLOW: `127.0.0.1:${(files.address() as AddressInfo).port}` } });
  session = await world.createSession();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await new Promise((resolve) => files.close(resolve));
});

const at = (target: string): string => `${world.url}/v1/sessions/${session.id}/${target}`;

async function run(command: string, query = "?wait=30s", more: object = {}): Promise<Command> {
  const { status, body } = await world.request<Command>("POST", `/v1/sessions/${session.id}/commands${query}`, {
    command,
    ...more,
  });
  expect([200, 202]).toContain(status);
  return body;
}

test("a file of 100 MB goes in and out, and the API holds little of it at once", async () => {
  const content = randomBytes(100 * MB);
  await world.fetch(at("files/warm"), { method: "PUT", body: "x" });
  const before = mostMemory(world.pidOf("api"));

  const put = await world.fetch(at("files/data/big.bin"), { method: "PUT", body: content });
  const got = await world.fetch(at("files/data/big.bin"));
  const hash = createHash("sha256");
  for await (const chunk of got.body ?? []) hash.update(chunk);

  expect(await put.json()).toMatchObject({ path: "data/big.bin", bytes: content.length });
  expect(hash.digest("hex")).toBe(createHash("sha256").update(content).digest("hex"));
  expect(mostMemory(world.pidOf("api")) - before).toBeLessThan(80 * MB);
});

test("a folder is listed, packed, and removed", async () => {
  await world.fetch(at("files/src/a.txt"), { method: "PUT", body: "text of a" });
  await run("mkdir -p src/empty && ln -s a.txt src/link && printf b > 'src/b \u00e9.sh' && chmod +x src/b*");

  const listed = await world.request<FileList>("GET", `/v1/sessions/${session.id}/files/src?depth=2`);
  const folder = path.join(world.folder, "unpacked");
  mkdirSync(folder);
  for (const format of ["tar", "zip"]) {
    const packed = Buffer.from(await (await world.fetch(at(`files/src?archive=${format}`))).arrayBuffer());
    writeFileSync(path.join(folder, format), packed);
  }
  execFileSync("tar", ["-xf", "tar"], { cwd: folder });
  const inZip = readFileSync(path.join(folder, "zip")).toString("latin1");
  const refused = await world.fetch(at("files/src"), { method: "DELETE" });
  const removed = await world.fetch(at("files/src?recursive=true"), { method: "DELETE" });

  expect(listed.body.files.map((file) => `${file.kind} ${file.path}`)).toEqual([
    "file src/a.txt",
    "file src/b \u00e9.sh",
    "folder src/empty",
    "symlink src/link",
  ]);
  expect(readFileSync(path.join(folder, "src/link"), "utf8")).toBe("text of a");
  expect(existsSync(path.join(folder, "src/empty"))).toBe(true);
  for (const name of ["src/a.txt", "src/empty/", "src/link"]) expect(inZip).toContain(name);
  expect([refused.status, removed.status]).toEqual([409, 204]);
  expect((await world.fetch(at("files/src"))).status).toBe(404);
});

test("a command gets its folder, its variables and its input, and its end is answered", async () => {
  const ended = await run('echo "$GREETING from $(basename "$PWD")"; cat; exit 3', "?wait=30s", {
    cwd: "data",
    env: { GREETING: "hello" },
    input: "typed in",
  });

  expect(ended).toMatchObject({ state: "done", outcome: "error", exitCode: 3 });
  expect(ended.result).toBe("hello from data\ntyped in\n[exit code 3]");
  const { body } = await world.request("GET", `/v1/sessions/${session.id}/commands/${ended.id}`);
  expect(body).toEqual(ended);
});

test("a worker killed in mid-command is followed by one that re-attaches: it ran once, and no output is lost or doubled", async () => {
  const effects = path.join(world.folder, "effects");
  const stream = session.stream();
  const id = "call_killed";
  const command = `echo begun >> ${effects}; i=0; while [ $i -lt 15 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo ended >> ${effects}`;
  await run(command, "", { id });
  await stream.until("it prints", () => stream.ofType("command.output").find(({ callId }) => callId === id));

  world.kill("worker");
  const end = await stream.until("it ends", () =>
    stream.ofType("command.completed").find(({ callId }) => callId === id),
  );

  expect(readFileSync(effects, "utf8")).toBe("begun\nended\n");
  const printed = stream.ofType("command.output").filter(({ callId }) => callId === id);
  expect(printed.map(({ text }) => text).join("")).toBe(Array.from({ length: 15 }, (_, i) => `line ${i}\n`).join(""));
  expect(end).toMatchObject({ outcome: "ok", exitCode: 0 });
  expect(await run(command, "?wait=10s", { id })).toMatchObject({ state: "done", outcome: "ok" });
  expect(readFileSync(effects, "utf8")).toBe("begun\nended\n");
});

test("a command that is stopped ends with all that it has started", async () => {
  const command = await run("sleep 7311 & sleep 7311", "");
  await waitFor("it runs", () => processesOf("sleep 7311").length >= 2);

  const { status } = await world.request("DELETE", `/v1/sessions/${session.id}/commands/${command.id}`);
  const route = `/v1/sessions/${session.id}/commands/${command.id}`;
  await waitFor("it has ended", async () => (await world.request<Command>("GET", route)).body.state === "done");

  expect(status).toBe(202);
  expect((await world.request<Command>("GET", route)).body).toMatchObject({ outcome: "interrupted", exitCode: null });
  expect(processesOf("sleep 7311")).toEqual([]);
});

test("an archive is downloaded into the workspace, and its files are told of", async () => {
  const url = `http://127.0.0.1:${(files.address() as AddressInfo).port}/a.tgz`;
  const sha256 = createHash("sha256").update(archive).digest("hex");

  const download = async (path = "lib"): Promise<{ status: number; body: Downloaded }> => {
    const response = await world.fetch(at("downloads"), {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": "once" },
      body: JSON.stringify({ url, path, sha256, extract: true }),
    });
    return { status: response.status, body: (await response.json()) as Downloaded };
  };

  const done = await download();
  const again = await download();
  const other = await download("elsewhere");
  const inside = await world.request("POST", `/v1/sessions/${session.id}/downloads`, {
    url: "http://169.254.169.254/latest",
    path: "keys",
  });

  expect(done).toMatchObject({ status: 200, body: { path: "lib", bytes: archive.length, sha256, files: 2 } });
  expect([again, fetched]).toEqual([done, 1]);
  expect(other).toMatchObject({ status: 409, body: { code: "CONFLICT" } });
  expect(await (await world.fetch(at("files/lib/top/b/c"))).text()).toBe("c");
  expect(inside).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });
  const changed = (await session.log()).flatMap((event) => (event.type === "file.changed" ? [event.path] : []));
  expect(changed).toContain("lib/top/a");
});

/** The most that the process ever had in memory. */
function mostMemory(pid: number): number {
  const [, kilobytes] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}
