/** A workflow whose history today's code cannot replay, as after a bug of an SDK's: its session goes on from the rows in another run. */
import { spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Client, Connection } from "@temporalio/client";
import { DefaultLogger, NativeConnection, Runtime, Worker } from "@temporalio/worker";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitServing } from "../../cli/grpc-health.ts";
import { freePort } from "../../cli/ports.ts";
import { findTemporal } from "../../cli/temporal-server.ts";
import { type SessionClient, scripted, startWorld, type World, waitFor } from "../support/world.ts";

const DEADLINE_MS = 120_000;
const OTHER = fileURLToPath(new URL("fixtures/other-session.ts", import.meta.url));

let world: World;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger("ERROR") });
  world = await startWorld();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** While the stack is down: the workflows of these sessions are others, which have begun with a step that ours do not make. */
async function replaceWorkflows(sessions: readonly SessionClient[]): Promise<void> {
  const port = await freePort("127.0.0.1");
  const address = `127.0.0.1:${port}`;
  const database = path.join(world.stateDir, "temporal.db");
  const args = ["--headless", "--ip", "127.0.0.1", "--port", String(port), "--log-level", "error"];
  const server = spawn(
    await findTemporal(() => undefined),
    ["server", "start-dev", ...args, "--db-filename", database],
    {
      stdio: "ignore",
    },
  );
  try {
    if (!(await waitServing(address, AbortSignal.timeout(60_000)))) throw new Error("Temporal did not come up");
    const connection = await Connection.connect({ address });
    const native = await NativeConnection.connect({ address });
    for (const { id } of sessions) await replaceWorkflow(new Client({ connection }), native, id);
    await native.close();
    await connection.close();
  } finally {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  }
}

async function replaceWorkflow(client: Client, connection: NativeConnection, id: string): Promise<void> {
  const { memo = {}, taskQueue } = await client.workflow.getHandle(id).describe();
  const [started] = (await client.workflow.getHandle(id).fetchHistory()).events ?? [];
  const payload = started?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0];
  const input = payload && client.options.loadedDataConverter.payloadConverter.fromPayload(payload);
  await client.workflow.getHandle(id).terminate("replaced");
  const worker = await Worker.create({ connection, taskQueue, workflowsPath: OTHER });
  await worker.runUntil(async () => {
    const handle = await client.workflow.start("session", { workflowId: id, taskQueue, memo, args: [input] });
    const hasSlept = async (): Promise<boolean> =>
      ((await handle.fetchHistory()).events ?? []).some((event) => event.timerStartedEventAttributes);
    await waitFor("it has begun to sleep", hasSlept, DEADLINE_MS);
  });
}

test("a message, and a close, reach sessions whose workflows cannot be replayed", async () => {
  const [asked, closed] = [await world.createSession(), await world.createSession()];
  for (const session of [asked, closed]) {
    await session.post(scripted({ text: "first" }));
    await session.stream().next("turn.completed");
  }
  await world.stop();
  await replaceWorkflows([asked, closed]);
  await world.start();

  await asked.post(scripted({ text: "second" }));
  await closed.close();

  const turns = async (): Promise<number> => (await asked.log()).filter(({ type }) => type === "turn.completed").length;
  await waitFor("its message is answered", async () => (await turns()) === 2, DEADLINE_MS);
  const isClosed = async (): Promise<boolean> => (await closed.log()).some(({ type }) => type === "session.closed");
  await waitFor("it is closed", isClosed, DEADLINE_MS);
  expect((await asked.log()).at(-1)).toMatchObject({ type: "turn.completed", output: "second" });
}, 300_000);
