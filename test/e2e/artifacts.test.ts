/** Artifacts: what an agent leaves in its folders is kept, once for each content, whatever its size. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AgentInput } from "../../contract/agents.ts";
import type { ArtifactList } from "../../contract/http.ts";
import type { EventReader } from "../support/event-reader.ts";
import { scripted, startWorld, type World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const bash = (command: string) => ({ tools: [{ name: "bash", args: { command } }] });

async function runCommands(
  agent: AgentInput,
  ...commands: readonly string[]
): Promise<{ id: string; stream: EventReader }> {
  const session = await world.createSession({ agent });
  const stream = session.stream();
  await session.post(scripted(...commands.map(bash), { text: "done" }));
  await stream.next("turn.completed", () => true, 60_000);
  return { id: session.id, stream };
}

const uploads = (stream: EventReader): readonly string[] =>
  stream.ofType("artifact.uploaded").map((event) => event.path);

test("a file is uploaded once, again when it changes, and not when it only looks changed", async () => {
  const { id, stream } = await runCommands(
    {},
    "mkdir -p outputs/sub && echo one > outputs/sub/a.txt",
    "touch outputs/sub/a.txt",
    "echo two > outputs/sub/a.txt",
    "echo one > outputs/sub/a.txt; echo else > elsewhere.txt; : > outputs/empty.txt",
  );

  expect(uploads(stream)).toEqual(["outputs/sub/a.txt", "outputs/sub/a.txt"]);
  const list = await world.request<ArtifactList>("GET", `/v1/sessions/${id}/artifacts`);
  expect(list.body.artifacts.map((artifact) => artifact.sha256)).toEqual(
    ["one\n", "two\n"].map((text) => createHash("sha256").update(text).digest("hex")),
  );
});

test("what .artifactignore names is left out, and its rules replace the built-in ones", async () => {
  const { stream } = await runCommands(
    { artifacts: ["outputs/", "plain"] },
    [
      "mkdir -p outputs/node_modules outputs/keep plain/node_modules plain/.git",
      "printf '*.log\\n/keep/secret*\\n' > outputs/.artifactignore",
      "for f in a.log a.txt node_modules/m keep/secret.txt keep/open.txt; do echo x > outputs/$f; done",
      "for f in b.txt node_modules/m .git/config .env; do echo y > plain/$f; done",
    ].join(" && "),
  );

  expect([...uploads(stream)].sort()).toEqual([
    "outputs/a.txt",
    "outputs/keep/open.txt",
    "outputs/node_modules/m",
    "plain/b.txt",
  ]);
});

test("a symlink in the artifact folder gives nothing away", async () => {
  const { stream } = await runCommands(
    {},
    "mkdir -p outputs && ln -s /etc/hostname outputs/host && ln -s / outputs/root && echo ok > outputs/real",
  );

  expect(uploads(stream)).toEqual(["outputs/real"]);
});

test("a large file arrives whole, with its digest, and in parts", async () => {
  const size = 80 * 1024 * 1024;
  const { id, stream } = await runCommands({}, `mkdir -p outputs && head -c ${size} /dev/zero > outputs/big.bin`);

  const [uploaded] = stream.ofType("artifact.uploaded");
  expect(uploaded).toMatchObject({
    bytes: size,
    sha256: createHash("sha256").update(Buffer.alloc(size)).digest("hex"),
  });
  const part = await world.fetch(`${world.url}/v1/sessions/${id}/artifacts/${uploaded?.artifactId}`, {
    headers: { range: "bytes=10-19" },
  });
  expect(part.status).toBe(206);
  expect((await part.arrayBuffer()).byteLength).toBe(10);
});

test("a disk that is full for artifacts is said in words, and the turn completes", async ({ skip }) => {
  const blobs = path.join(world.stateDir, "blobs");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", blobs], { stdio: "pipe" });
  } catch (error) {
    skip(`no tmpfs can be mounted here (${String(error).slice(0, 80)}), so a full disk cannot be had`);
  }
  try {
    await world.request("POST", "/v1/sessions", {}); // The store makes its temporary folder anew, or says why not.
    const { stream } = await runCommands(
      {},
      "mkdir -p outputs && head -c 4000000 /dev/urandom > outputs/big.bin && echo s > outputs/small.txt",
    );

    // Once after the command, and once more at the turn's end, when there may have been room again.
    const errors = stream.ofType("error");
    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors) expect(error).toMatchObject({ code: "STORAGE_IO_ERROR", retryable: true });
    expect(uploads(stream)).toEqual(["outputs/small.txt"]);
  } finally {
    execFileSync("umount", ["-l", blobs]);
  }
});
