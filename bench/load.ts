/** Many sessions: the worker's memory while they are idle and while they work, and the steps per second that they get. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { now } from "../test/support/event-reader.ts";
import type { World } from "../test/support/world.ts";
import type { Measured } from "./table.ts";
import { type OpenSession, openIdleSession, openSession, reads, runTurn } from "./timed-turn.ts";

const IDLE = 100;
const WORKING = 100;
const RACING = 50;
const RACE_STEPS = 20;
const AT_ONCE = 10;
const SETTLE_MS = 1_000;

export async function measureLoad(world: World): Promise<Measured> {
  await openSessions(world, AT_ONCE); // So that what is loaded and compiled once is there.
  await delay(SETTLE_MS);
  const baseMb = residentMb(world);
  const sessions = await openSessions(world, RACING);
  for (let opened = RACING; opened < IDLE; opened += AT_ONCE) {
    sessions.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openGreeted(world)))));
  }
  await delay(SETTLE_MS);
  const idleMb = residentMb(world);
  const stepsPerSecond = await race(sessions.slice(0, RACING));
  const workingMb = await workingPeakMb(world, sessions.slice(0, WORKING));
  for (const { reader } of sessions) await reader[Symbol.asyncDispose]();
  const perSessionKb = ((idleMb - baseMb) * 1_024) / IDLE;
  return {
    key: "load",
    value: `${perSessionKb.toFixed(0)} KB per idle session; ${workingMb.toFixed(0)} MB with ${WORKING} at work; ${stepsPerSecond.toFixed(0)} steps/s with ${RACING} at once`,
    passes: undefined,
    notes: [
      `resident memory of the worker process: ${baseMb.toFixed(0)} MB with ${AT_ONCE} sessions, ${idleMb.toFixed(0)} MB with ${IDLE} more that had a turn each and are idle (all of it kept: caches and uncollected garbage, too)`,
      `at work: the peak while ${WORKING} sessions run paced replies and \`list_files\`; steps per second: ${RACING} sessions with ${RACE_STEPS} \`read_file\` steps of 1 KB each`,
    ],
    data: { baseMb, idleMb, workingMb, stepsPerSecond },
  };
}

async function openSessions(world: World, count: number): Promise<OpenSession[]> {
  const sessions: OpenSession[] = [];
  for (let opened = 0; opened < count; opened += AT_ONCE) {
    sessions.push(...(await Promise.all(Array.from({ length: AT_ONCE }, () => openSession(world)))));
  }
  return sessions;
}

/** A session whose first turn was a mere answer. */
async function openGreeted(world: World): Promise<OpenSession> {
  const session = await openIdleSession(world);
  await runTurn(session, { text: "hello" });
  return session;
}

async function race(sessions: readonly OpenSession[]): Promise<number> {
  const startedAt = now();
  await Promise.all(sessions.map((session) => runTurn(session, reads("kb1.txt", RACE_STEPS), { text: "done" })));
  return (sessions.length * RACE_STEPS) / ((now() - startedAt) / 1_000);
}

async function workingPeakMb(world: World, sessions: readonly OpenSession[]): Promise<number> {
  let peakMb = 0;
  const timer = setInterval(() => {
    peakMb = Math.max(peakMb, residentMb(world));
  }, 100);
  try {
    const lists = { tools: [{ name: "list_files", args: {} }], times: 5 };
    const reply = { text: "some words and then some more. ".repeat(10), gapMs: 20 };
    await Promise.all(sessions.map((session) => runTurn(session, { ...lists, ...reply }, reply)));
  } finally {
    clearInterval(timer);
  }
  return peakMb;
}

/** Resident memory of the worker; NaN where there is no /proc. */
function residentMb(world: World): number {
  try {
    const status = readFileSync(`/proc/${world.pidOf("worker")}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024;
  } catch {
    return Number.NaN;
  }
}
