/** What a kill costs: of the worker while a command runs, and of the API while a client streams. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { now } from "../test/support/event-reader.ts";
import { scripted, type World, waitFor } from "../test/support/world.ts";
import { type Measured, type Summary, summarize } from "./table.ts";
import { type OpenSession, openSession, runTurn } from "./timed-turn.ts";

const ROUNDS = 5;
const MUST = { workerMs: 3_000, apiMs: 2_000, gapMs: 5_000 };
/** Of a worker in service, before it is killed for this: its spare is loaded by then, as it mostly is. */
const SETTLED_MS = 6_000;
const PRINTS = 20;
const RECOVERY_DEADLINE_MS = 30_000;

interface Round {
  readonly ms: number;
  /** How often the command ran. */
  readonly times: number;
}

export async function measureKills(world: World): Promise<readonly Measured[]> {
  const [worker, api]: [Round[], Round[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    await world.restart();
    worker.push(await killRound(world, "worker", round));
    api.push(await killRound(world, "api", round));
  }
  return [workerRow(worker), apiRow(api)];
}

/** How long nobody takes a workflow task when the only worker dies: what sat unstarted, up to 20 s, had waited for a new one. */
export async function measureGap(world: World): Promise<readonly Measured[]> {
  const gaps: number[] = [];
  const ready = (): number => world.stackEvents.filter((one) => one.type === "ready" && one.name === "worker").length;
  const session = await openSession(world);
  for (let round = 0; round < ROUNDS; round++) {
    await delay(SETTLED_MS);
    const before = ready();
    world.kill("worker");
    gaps.push((await runTurn(session, { text: "here" })).totalMs);
    await waitFor("the next worker is ready", () => ready() > before, RECOVERY_DEADLINE_MS);
  }
  await session.client.close();
  await session.reader.until("session.closed", () => session.reader.isClosed);
  const ms = summarize(gaps);
  const note = `${ROUNDS} rounds, judged by the slowest; the spare of the worker that is killed had ${SETTLED_MS / 1_000} s to load`;
  return [{ key: "worker-gap", value: seconds(ms), passes: ms.max <= MUST.gapMs, notes: [note], data: gaps }];
}

function workerRow(rounds: readonly Round[]): Measured {
  const ms = summarize(rounds.map((round) => round.ms));
  const times = Math.max(...rounds.map((round) => round.times));
  return {
    key: "worker-kill",
    value: `${seconds(ms)}; ${times === 1 ? "once" : `${times} times`}`,
    passes: ms.max <= MUST.workerMs && times === 1,
    notes: [
      `${ROUNDS} rounds, judged by the slowest; the command appends a line to a file and then prints each 100 ms; killed between its 3rd and its 12th print, ` +
        "started again by the stack's supervisor; until the arrival of the first event that was appended after the kill. " +
        "Each round has a stack just started, because the supervisor gives up after ten deaths in a minute",
    ],
    data: rounds,
  };
}

function apiRow(rounds: readonly Round[]): Measured {
  const ms = summarize(rounds.map((round) => round.ms));
  return {
    key: "api-kill",
    value: seconds(ms),
    passes: ms.max <= MUST.apiMs && rounds.every((round) => round.times === 1),
    notes: [
      `${ROUNDS} rounds, judged by the slowest; a client that comes back each 50 ms, until the first event on its new connection that was appended after the kill`,
    ],
    data: rounds,
  };
}

async function killRound(world: World, name: "worker" | "api", round: number): Promise<Round> {
  const session = await openSession(world);
  const { client, reader } = session;
  const effects = path.join(world.folder, `${name}-${round}.effects`);
  const loop = `i=0; while [ $i -lt ${PRINTS} ]; do i=$((i+1)); echo "print $i"; sleep 0.1; done`;
  const command = `echo started >> ${effects}; ${loop}`;
  await client.post(scripted({ tools: [{ name: "bash", args: { command } }] }, { text: "done" }));
  await reader.next("tool.output", (event) => event.text.includes(`print ${3 + round * 2}\n`));
  await delay(Math.random() * 100); // At any point of its pause.
  const ms = await recoveryMs(world, session, name);
  await reader.until("the turn's end", () => reader.ofType("turn.completed").length === 2);
  const output = reader.ofType("tool.output").map((event) => event.text);
  const prints = output.join("").match(/^print \d+$/gm)?.length;
  if (prints !== PRINTS) throw new Error(`the command printed ${PRINTS} lines, its events have ${prints}`);
  await client.close();
  await reader.until("session.closed", () => reader.isClosed);
  return { ms, times: readFileSync(effects, "utf8").split("\n").length - 1 };
}

async function recoveryMs(world: World, { reader }: OpenSession, name: "worker" | "api"): Promise<number> {
  const connections = reader.connections.length;
  const killedAt = now();
  world.kill(name);
  const back = await reader.until(
    "it goes on",
    () => {
      if (name === "api" && reader.connections.length === connections) return undefined;
      // What the dead one had appended may still arrive; `at` has no fractions, hence the two milliseconds.
      const after = name === "api" ? (reader.connections.at(-1) ?? 0) : 0;
      return reader.arrivals.find(({ at, event }) => at > after && event.at > killedAt + 2);
    },
    RECOVERY_DEADLINE_MS,
  );
  return back.at - killedAt;
}

function seconds({ median, min, max }: Summary): string {
  const [middle, least, most] = [median, min, max].map((ms) => (ms / 1_000).toFixed(2));
  return `${middle} s (${least}..${most})`;
}
