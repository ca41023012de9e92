/** How soon a client sees something: the first event, the first token, and an event at each of 300 watchers. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { EventType } from "../contract/events.ts";
import { readToken } from "../store/api-token.ts";
import { now } from "../test/support/event-reader.ts";
import { scripted, type World } from "../test/support/world.ts";
import { ASKING_POLICY, ASKS } from "./chaos/script.ts";
import type { StepContext } from "./steps.ts";
import { type Measured, percentile, type Summary, showMs, summarize } from "./table.ts";
import { type OpenSession, openSession, runs, runTurn, type TimedTurn } from "./timed-turn.ts";
import type { WatcherReport } from "./watchers.ts";

const ROUNDS = 30;
const PAUSE_MS = 50;
const WATCHERS = 300;
const APPROVALS = 60;
const MUST = { firstEvent: 30, firstToken: 60, approval: 60, watchers: { p50: 30, p99: 250 } };
/** 200 tokens of five letters each. */
const REPLY = "words ".repeat(200);

export async function measureFirstEvent({ world }: StepContext): Promise<Measured> {
  const session = await openSession(world);
  const turns = await turnsOf(session, 0);
  const received = firsts(turns, "message.received");
  const started = firsts(turns, "turn.started");
  const text = firsts(turns, "block.delta");
  return {
    key: "first-event",
    value: showMs(received),
    passes: received.median <= MUST.firstEvent,
    notes: [
      `${ROUNDS} messages; the first event is message.received; turn.started came after ${showMs(started)}, ` +
        `the first text of a reply that the model gives at once after ${showMs(text)}`,
    ],
    data: { received, started, text },
  };
}

export async function measureFirstToken({ world, modelUrl }: StepContext): Promise<Measured> {
  const session = await openSession(world, { modelSettings: { api: "chat_completions" } });
  const turns = await turnsOf(session, 10);
  const token = firsts(turns, "block.delta");
  const values: number[] = [];
  for (let round = 0; round < 10; round++) values.push(await floorTokenMs(modelUrl));
  const floor = summarize(values);
  return {
    key: "first-token",
    value: showMs(token),
    passes: token.median <= MUST.firstToken,
    notes: [
      `${ROUNDS} messages, chat completions wire, one piece per 10 ms; of this the endpoint's own pace up to its first token is ${showMs(floor)} (bare fetch, same run)`,
    ],
    data: { token, floor },
  };
}

async function turnsOf(session: OpenSession, gapMs: number): Promise<readonly TimedTurn[]> {
  const turns: TimedTurn[] = [];
  const text = gapMs === 0 ? REPLY : REPLY.slice(0, 240);
  for (let round = 0; round < ROUNDS; round++) {
    turns.push(await runTurn(session, { text, gapMs }));
    await delay(PAUSE_MS);
  }
  await session.client.close();
  return turns;
}

/** From the POST to the first event of that type. */
function firsts(turns: readonly TimedTurn[], type: EventType): Summary {
  return summarize(
    turns.map(({ postedAt, arrivals }) => {
      const first = arrivals.find(({ event }) => event.type === type);
      if (!first) throw new Error(`a turn had no ${type}`);
      return first.at - postedAt;
    }),
  );
}

async function floorTokenMs(modelUrl: string): Promise<number> {
  const content = scripted({ text: REPLY.slice(0, 240), gapMs: 10 });
  const startedAt = performance.now();
  const left = new AbortController();
  const response = await fetch(`${modelUrl}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "scripted-model", stream: true, messages: [{ role: "user", content }] }),
    signal: left.signal,
  });
  if (!response.body) throw new Error("the model endpoint gave no stream");
  let seen = "";
  for await (const bytes of response.body) {
    seen += new TextDecoder().decode(bytes);
    if (seen.includes('"content":"words')) break;
  }
  const tookMs = performance.now() - startedAt;
  left.abort();
  return tookMs;
}

export async function measureApproval({ world }: StepContext): Promise<Measured> {
  const session = await openSession(world, { policy: ASKING_POLICY });
  const turn = runTurn(session, runs(`${ASKS} the bench`, APPROVALS), { text: "done" });
  const deciding = decideAll(world, session);
  const [started] = await Promise.all([deciding, turn]);
  await session.client.close();
  return {
    key: "approval",
    value: showMs(summarize(started)),
    passes: percentile(started, 50) <= MUST.approval,
    notes: [
      `${APPROVALS} calls of \`bash\` one after another, each approved ${PAUSE_MS} ms after it was asked about; p95 ${percentile(started, 95).toFixed(1)} ms`,
    ],
    data: { started },
  };
}

/** Approves each call, and tells how long after the POST its start arrived. */
async function decideAll(world: World, { client, reader }: OpenSession): Promise<readonly number[]> {
  const took: number[] = [];
  const decided = new Set<string>();
  while (took.length < APPROVALS) {
    const { callId } = await reader.next("approval.requested", (event) => !decided.has(event.callId));
    decided.add(callId);
    await delay(PAUSE_MS);
    const postedAt = now();
    const route = `/v1/sessions/${client.id}/approvals/${callId}`;
    const { status } = await world.request("POST", route, { decision: "approve" });
    if (status !== 200) throw new Error(`an approval was answered ${status}`);
    await reader.next("tool.started", (event) => event.callId === callId);
    const start = reader.arrivals.find(({ event }) => event.type === "tool.started" && event.callId === callId);
    took.push((start?.at ?? Number.NaN) - postedAt);
  }
  return took;
}

export async function measureWatchers({ world }: StepContext): Promise<Measured> {
  const session = await openSession(world);
  const report = await watched(world, session, async () => {
    await runTurn(session, { text: REPLY.repeat(4), gapMs: 10 });
  });
  const { p50, p99, max, arrivals, events } = report;
  await session.client.close();
  return {
    key: "watchers",
    value: `${p50.toFixed(1)} / ${p99.toFixed(1)} ms (max ${max.toFixed(1)})`,
    passes: p50 <= MUST.watchers.p50 && p99 <= MUST.watchers.p99,
    notes: [
      `${events} events of a reply paced at 10 ms, ${arrivals} arrivals at ${WATCHERS} SSE connections of one other process; ` +
        "from the event's `at` (taken by the worker before its transaction, so the commit is in it, and cut to whole ms, so up to 1 ms too much)",
    ],
    data: report,
  };
}

async function watched(world: World, { client }: OpenSession, work: () => Promise<void>): Promise<WatcherReport> {
  const child = fork(fileURLToPath(new URL("watchers.ts", import.meta.url)), [
    `${world.url}/v1/sessions/${client.id}/events?token=${readToken(world.stateDir)}`,
    String(WATCHERS),
  ]);
  try {
    const [ready] = (await once(child, "message")) as [unknown];
    if (ready !== "ready") throw new Error(`the watchers said ${JSON.stringify(ready)}`);
    await work();
    await delay(500); // So that the slowest arrival counts, too.
    child.send("report");
    const [report] = (await once(child, "message")) as [WatcherReport];
    return report;
  } finally {
    child.kill("SIGKILL");
  }
}
