/**
 * Records the histories that test/workflows/replay.test.ts replays: `node test/histories/record.ts`.
 *
 * Run it when a new shape of session is released, under a new name; a recorded history is never recorded over, because it
 * stands for the sessions that run somewhere with it.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { findTemporal } from "../../cli/temporal-server.ts";
import { scripted, startWorld, type World } from "../support/world.ts";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const RELEASE = "0.4";

const list = { name: "list_files", args: {} };
const bash = (command: string) => ({ name: "bash", args: { command } });

const SHAPES: Readonly<Record<string, (world: World, id: string) => Promise<void>>> = {
  "plain-turn": async (world, id) => await say(world, id, scripted({ text: "hello" })),
  "tool-loop": async (world, id) => {
    const write = { name: "write_file", args: { path: "outputs/a.txt", content: "a" } };
    await say(world, id, scripted({ tools: [write, bash("echo one"), bash("echo two")] }, { tools: [list] }, { text: "done" }));
  },
  interrupt: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    await session.post(scripted({ tools: [bash("echo here; sleep 60")] }));
    await stream.next("tool.output");
    await session.interrupt();
    await stream.next("turn.interrupted");
    await session.post(scripted({ tools: [bash("echo again; sleep 60")] }));
    await stream.until("it runs again", () => stream.ofType("tool.output").length === 2);
    await session.post({ content: scripted({ text: "instead" }), mode: "interrupt" });
    await stream.next("turn.completed");
  },
  "continue-as-new": async (world, id) => await say(world, id, scripted({ tools: [list], times: 360 }, { text: "far" })),
  "failed-turn": async (world, id) => await say(world, id, scripted({ status: 401 })),
  approvals: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    const decide = async (index: number, body: object): Promise<void> => {
      const asked = await stream.until("it asks", () => stream.ofType("approval.requested")[index]);
      await world.request("POST", `/v1/sessions/${id}/approvals/${asked.callId}`, body);
    };
    await session.post(scripted({ tools: [bash("echo one"), bash("echo two"), list] }, { tools: [bash("echo three")] }, { text: "done" }));
    await decide(1, { decision: "deny" });
    await decide(0, { decision: "approve" });
    await decide(2, { decision: "approve", arguments: { command: "echo edited" } });
    await stream.next("turn.completed");
    // Nobody decides the next one; then one is stopped while it waits.
    await session.post(scripted({ tools: [bash("echo late")] }, { text: "done" }));
    await stream.until("the deadline passes", () => stream.ofType("turn.completed").length === 2);
    await session.post(scripted({ tools: [bash("echo stopped")] }, { text: "never" }));
    await stream.until("it asks again", () => stream.ofType("approval.requested").length === 5);
    await session.interrupt();
    await stream.next("turn.interrupted");
  },
  people: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    const ask = { name: "ask_user", args: { question: "Which?" } };
    await session.post(scripted({ tools: [ask, { name: "look_up", args: {} }] }, { text: "done" }));
    const asked = await stream.next("question.asked");
    const wanted = await stream.next("tool.requested");
    await world.request("POST", `/v1/sessions/${id}/tool-results/${wanted.callId}`, { result: 1 });
    await world.request("POST", `/v1/sessions/${id}/answers/${asked.callId}`, { answer: "this" });
    await stream.next("turn.completed");
  },
  steering: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    await session.post(scripted({ text: "a slow and last answer that takes its time", gapMs: 40 }));
    await stream.next("block.delta");
    await session.post({ content: scripted({ tools: [ask("Go on?")] }, { text: "steered" }), mode: "steer" });
    await stream.next("question.asked");
    await session.post({ id: "removed", content: "taken back" });
    await session.post({ id: "late", content: scripted({ text: "mine" }), mode: "steer" });
    await world.request("DELETE", `/v1/sessions/${id}/messages/removed`);
    await session.interrupt();
    await stream.next("turn.completed", ({ output }) => output === "mine");
  },
  configured: async (world, id) => {
    await say(world, id, scripted({ text: "before" }));
    const overrides = { limits: { turnTimeoutMs: 60_000, stepsPerTurn: 3 } };
    await world.request("PATCH", `/v1/sessions/${id}`, { overrides });
    const stream = world.session(id).stream();
    await world.session(id).post(scripted({ tools: [list] }, { text: "after" }));
    await stream.next("turn.completed", ({ output }) => output === "after");
  },
  // Its sandbox is stopped while it idles, and comes back; a long command has an activity of its own.
  idle: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    await session.post(scripted({ tools: [bash("echo kept > kept; sleep 0.5")] }, { text: "done" }));
    await stream.next("sandbox.stopped");
    await session.post(scripted({ tools: [bash("cat kept")] }, { text: "again" }));
    await stream.next("turn.completed", ({ output }) => output === "again");
  },
  lost: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    await session.post(scripted({ tools: [bash("echo kept > kept")] }, { text: "done" }));
    await stream.next("sandbox.snapshotted");
    await session.post(scripted({ tools: [bash("echo begun; sleep 60")] }, { text: "never mind" }));
    await stream.next("tool.output", ({ text }) => text.includes("begun"));
    const folder = path.join(world.stateDir, "sandboxes");
    for (const name of readdirSync(folder)) if (name.includes(id)) rmSync(path.join(folder, name), { recursive: true });
    await stream.next("turn.completed", ({ output }) => output === "never mind");
  },
  // Its workflow is lost in a command, and again while it waits for a person: other runs go on from the rows.
  recovered: async (world, id) => {
    const session = world.session(id);
    const stream = session.stream();
    const lose = async (): Promise<unknown> => (await world.temporal()).workflow.getHandle(id).terminate("lost");
    await session.post(scripted({ tools: [bash("echo here; sleep 4; echo there")] }, { tools: [ask("Which?")] }, { text: "both" }));
    await stream.next("tool.output", ({ text }) => text.includes("here"));
    await session.post({ id: "waits", content: scripted({ text: "queued" }) });
    await lose();
    const asked = await stream.next("question.asked");
    await lose();
    await world.request("POST", `/v1/sessions/${id}/answers/${asked.callId}`, { answer: "this" });
    await stream.next("turn.completed", ({ output }) => output === "queued");
  },
};

const ask = (question: string) => ({ name: "ask_user", args: { question } });
const SESSIONS: Readonly<Record<string, object>> = {
  approvals: {
    agent: {
      policy: { default: "allow", rules: [{ tool: "bash", action: "ask" }] },
      limits: { approvalTimeoutMs: 3_000 },
    },
  },
  people: { clientTools: [{ name: "look_up" }] },
  idle: { sandbox: { idleTimeoutMs: 1_000 } },
};

async function say(world: World, id: string, content: string): Promise<void> {
  const stream = world.session(id).stream();
  await world.session(id).post(content);
  await stream.until("the turn ends", () => stream.events().some((e) => /^turn\.(completed|failed)$/.test(e.type)), 120_000);
}

await using world = await startWorld();
const client = await world.temporal();
const temporal = await findTemporal(() => undefined);
for (const [shape, play] of Object.entries(SHAPES)) {
  const id = `history-${shape}`;
  const file = path.join(HERE, RELEASE, `${shape}.json`);
  if (existsSync(file)) continue;
  mkdirSync(path.dirname(file), { recursive: true });
  const session = await world.createSession({ id, agent: { limits: { stepsPerTurn: 1_000 } }, ...SESSIONS[shape] });
  const stream = session.stream();
  const { firstExecutionRunId } = await client.workflow.getHandle(id).describe().then(
    ({ runId }) => ({ firstExecutionRunId: runId }),
  );
  await play(world, id);
  await session.close();
  await stream.until("it is closed", () => stream.isClosed);
  const runs = [firstExecutionRunId];
  for await (const { runId } of client.workflow.list({ query: `WorkflowId = "${id}"` })) if (!runs.includes(runId)) runs.push(runId);
  for (const [index, runId] of runs.entries()) {
    const name = index === 0 ? file : file.replace(/\.json$/, `-run-${index + 1}.json`);
    const json = execFileSync(
      temporal,
      ["workflow", "show", "--address", world.stack.temporalAddress, "-w", id, "-r", runId, "-o", "json"],
      { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 },
    );
    const history = JSON.parse(json) as { events: unknown[] };
    writeFileSync(name, `${JSON.stringify(history)}\n`);
    process.stdout.write(`${path.relative(HERE, name)}: ${history.events.length} events\n`);
  }
}
