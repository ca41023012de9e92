/** A terminal and secrets in a running stack: a real shell over a real WebSocket, and a worker that is killed under it. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRedactor } from "../../tools/redactor.ts";
import { openTerminalClient } from "../support/terminal-client.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

const SECRET = "npm_51f0-a-value-of-the-worker";
const AGENT = { secrets: [{ name: "NPM_TOKEN", commands: ["printf *"] }] };
let world: World;
let session: SessionClient;

beforeAll(async () => {
  world = await startWorld({ env: { PERDURE_SECRET_NPM_TOKEN: SECRET } });
  session = await world.createSession({ agent: AGENT });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

test("two watch a shell and one writes; its size is seen inside; it ends with `exit`, and the log tells so", async () => {
  await using writer = await openTerminalClient(world, session.id, "?columns=90&rows=33");
  await using watcher = await openTerminalClient(world, session.id, "?watch=true");
  await writer.until("it may write", (one) => one.isWriter);

  writer.type("stty size; echo t$((40+2))\r");
  for (const one of [writer, watcher]) {
    await one.until("it is seen", ({ printed }) => printed.includes("33 90") && printed.includes("t42"));
  }
  writer.say({ type: "resize", columns: 70, rows: 20 });
  await watcher.until("it is resized", ({ notices }) => notices.some(({ type }) => type === "resized"));
  writer.type("sleep 0.1; stty size\r");
  await watcher.until("its size is seen", ({ printed }) => printed.includes("20 70"));
  writer.type("echo [$NPM_TOKEN]\r");
  await watcher.until("it has no secret", ({ printed }) => /\r\[\]\r/.test(printed));
  writer.type("exit\r");
  for (const one of [writer, watcher]) await one.until("it is closed", ({ closeCode }) => closeCode !== undefined);

  expect(writer.closedReason).toBe("the shell has ended");
  const events = await session.log();
  expect(events.filter(({ type }) => type.startsWith("terminal.")).map(({ type }) => type)).toEqual([
    "terminal.opened",
    "terminal.closed",
  ]);
});

test("a secret reaches the commands that it is for, and no event, history or file of the store", async () => {
  const own = await world.createSession({ agent: AGENT });
  await own.post(
    scripted(
      { tools: [{ name: "bash", args: { command: `printf 'is %s' "$NPM_TOKEN"` } }] },
      { tools: [{ name: "bash", args: { command: `echo "none: [$NPM_TOKEN]"; echo "$NPM_TOKEN" >kept` } }] },
      { text: "done" },
    ),
  );
  await waitFor("the turn is done", async () => (await own.log()).some(({ type }) => type === "turn.completed"));

  const log = await own.log();
  const results = log.flatMap((event) => (event.type === "tool.completed" ? [event.result] : []));
  expect(results).toEqual(["is [REDACTED]", "none: []"]);
  await waitFor("the workspace is kept", async () =>
    (await own.log()).some(({ type }) => type === "sandbox.snapshotted"),
  );
  const store = filesOf(world.stateDir);
  expect([...store.keys()].filter((file) => file.includes("perdure.db")).length).toBeGreaterThan(0);
  const history = await (await world.temporal()).workflow.getHandle(own.id).fetchHistory();
  // In any form: what is kept as base64, as Temporal's payloads are, has none in it either.
  const redactor = createRedactor([SECRET]);
  expect(redactor.text(JSON.stringify([log, history]))).toBe(JSON.stringify([log, history]));
  expect(world.lastModelCall()).toContain("is [REDACTED]");
  // But for what the command itself has printed, which stays in its sandbox.
  const leaks = [...store].filter(([file, content]) => !file.includes("/calls/") && content.includes(SECRET));
  expect(leaks.map(([file]) => file)).toEqual([]);
});

test("a killed worker takes its terminal along, in words; the session has another one at once", async () => {
  await using client = await openTerminalClient(world, session.id);
  await client.until("it may write", (one) => one.isWriter);
  const since = world.stackEvents.length;
  world.kill("worker");

  await client.until("it is closed", ({ closeCode }) => closeCode !== undefined, 20_000);

  expect(client.closedReason).toBe("the worker that served it was lost");
  await world.untilReady("worker", since);
  await using again = await openTerminalClient(world, session.id);
  await again.until("it may write", (one) => one.isWriter);
  again.type("echo back$((1+1))\r");
  await again.until("it runs", ({ printed }) => printed.includes("back2"));
});

test("the session's end closes it", async () => {
  await using client = await openTerminalClient(world, session.id);
  await client.until("it may write", (one) => one.isWriter);
  client.type("echo here$((1+1))\r");
  await client.until("it runs", ({ printed }) => printed.includes("here2"));

  await session.close();
  await client.until("it is closed", ({ closeCode }) => closeCode !== undefined, 15_000);

  expect(client.closedReason).toMatch(/sandbox|shell|closed/);
  await waitFor("the session is closed", async () =>
    (await session.log()).some(({ type }) => type === "session.closed"),
  );
});

/** All files below a folder in which others work: one that was renamed or removed meanwhile is looked for anew. */
function filesOf(folder: string): ReadonlyMap<string, Buffer> {
  for (let tries = 0; tries < 50; tries++) {
    try {
      const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      return new Map(entries.map((entry) => path.join(entry.parentPath, entry.name)).map((f) => [f, readFileSync(f)]));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new Error(`${folder} does not come to rest`);
}
