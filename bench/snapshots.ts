/** What it costs to keep a workspace and to bring it back: 10,000 small files of which ten change, and 200 MB in 2,000 files. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { restoreSnapshot } from "../activities/snapshot-restore.ts";
import { type SnapshotTaken, takeSnapshot } from "../activities/snapshot-take.ts";
import { Agent } from "../contract/agents.ts";
import { newId, type SessionId } from "../contract/ids.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import type { Sandbox, SandboxProvider } from "../sandbox/provider.ts";
import { beginSandbox } from "../store/sandboxes.ts";
import { createSession } from "../store/sessions.ts";
import { openStore, type Store } from "../store/store.ts";
import { type Measured, showMs, summarize } from "./table.ts";

const SMALL = { files: 10_000, folders: 200, bytes: 1_000, changes: 10, rounds: 7 };
const LARGE = { files: 2_000, folders: 50, bytes: 100_000, rounds: 5 };
const MUST = { snapshotMs: 1_500, restoreMs: 4_000 };
/** A file that is younger than a tick of the file system is read again the next time: nobody's workspace is that young. */
const TICK_MS = 100;

export async function measureSnapshots(): Promise<readonly Measured[]> {
  const root = mkdtempSync(path.join(tmpdir(), "perdure-bench-snapshots-"));
  const store = await openStore(root);
  const provider = createLocalProvider({ root: path.join(root, "sandboxes") });
  try {
    return [await measureSnapshot(store, provider), await measureRestore(store, provider)];
  } finally {
    for (const { id } of await provider.list()) await provider.remove(id);
    await store[Symbol.asyncDispose]();
    rmSync(root, { recursive: true, force: true });
  }
}

async function measureSnapshot(store: Store, provider: SandboxProvider): Promise<Measured> {
  const bench = await aWorkspace(store, provider);
  fill(bench.sandbox.workspace, SMALL);
  await delay(TICK_MS);
  const first = await timed(() => bench.take());
  const [changed, unchanged, loops]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < SMALL.rounds; round++) {
    for (let i = 0; i < SMALL.changes; i++) {
      writeFileSync(fileOf(bench.sandbox.workspace, SMALL, i * 37), `changed ${round} ${i} ${Math.random()}`);
    }
    await delay(TICK_MS);
    const taken = await timed(() => bench.take());
    if (taken.value?.files !== SMALL.files) throw new Error(`a snapshot holds ${taken.value?.files} files`);
    changed.push(taken.ms);
    loops.push(taken.loopMs);
    const again = await timed(() => bench.take());
    if (again.value) throw new Error("a snapshot was taken though nothing had changed");
    unchanged.push(again.ms);
  }
  const [of, idle] = [summarize(changed), summarize(unchanged)];
  return {
    key: "snapshot",
    value: showMs(of),
    passes: of.median <= MUST.snapshotMs,
    notes: [
      `${SMALL.rounds} rounds, each with ${SMALL.changes} other files of ${SMALL.files}; the first snapshot, which stores all of them: ${first.ms.toFixed(0)} ms; with no change at all: ${showMs(idle)}`,
      `the event loop was kept for at most ${Math.max(first.loopMs, ...loops).toFixed(0)} ms at once`,
    ],
    data: { changed, unchanged, first: first.ms, loops },
  };
}

async function measureRestore(store: Store, provider: SandboxProvider): Promise<Measured> {
  const before = process.memoryUsage().rss;
  const bench = await aWorkspace(store, provider);
  fill(bench.sandbox.workspace, LARGE);
  await delay(TICK_MS);
  const first = await timed(() => bench.take());
  if (!first.value) throw new Error("no snapshot was taken");
  const snapshotId = first.value.id;
  const [times, loops]: [number[], number[]] = [[], []];
  let peak = before;
  for (let round = 0; round < LARGE.rounds; round++) {
    const sandbox = await provider.open(`sbx_bench-restore-${round}`);
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 20);
    const restored = await timed(() => restoreSnapshot({ store }, { snapshotId, sandbox }));
    clearInterval(watch);
    times.push(restored.ms);
    loops.push(restored.loopMs);
    await provider.remove(sandbox.id);
  }
  const of = summarize(times);
  return {
    key: "restore",
    value: showMs(of),
    passes: of.median <= MUST.restoreMs,
    notes: [
      `${LARGE.rounds} rounds; ${LARGE.files} files of ${LARGE.bytes / 1_000} KB, each checked by its digest; their first snapshot: ${first.ms.toFixed(0)} ms`,
      `the event loop was kept for at most ${Math.max(...loops).toFixed(0)} ms at once; memory grew by ${((peak - before) / 1024 ** 2).toFixed(0)} MiB at most`,
    ],
    data: { times, loops, first: first.ms, peak: peak - before },
  };
}

interface BenchWorkspace {
  readonly sandbox: Sandbox;
  take(): Promise<SnapshotTaken | undefined>;
}

async function aWorkspace(store: Store, provider: SandboxProvider): Promise<BenchWorkspace> {
  const sessionId: SessionId = newId("ses");
  const session = { id: sessionId, agent: Agent.parse({}), title: undefined, metadata: {} };
  await createSession(store.database, session);
  const wanted = { provider: provider.name, host: "bench", generation: 1, spec: {}, restoredFrom: null };
  const { sandboxId } = await beginSandbox(store.database, sessionId, wanted);
  const sandbox = await provider.open(sandboxId);
  return { sandbox, take: () => takeSnapshot({ store }, { sessionId, sandbox, generation: 1 }) };
}

function fill(
  workspace: string,
  of: { readonly files: number; readonly folders: number; readonly bytes: number },
): void {
  for (let i = 0; i < of.folders; i++) mkdirSync(path.join(workspace, `folder-${i}`));
  const content = Buffer.alloc(of.bytes, 1);
  for (let i = 0; i < of.files; i++) {
    content.write(`file ${i} `);
    writeFileSync(fileOf(workspace, of, i), content);
  }
}

function fileOf(workspace: string, { folders }: { readonly folders: number }, number: number): string {
  return path.join(workspace, `folder-${number % folders}`, `file-${number}.txt`);
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; ms: number; loopMs: number }> {
  const loop = monitorEventLoopDelay({ resolution: 5 });
  loop.enable();
  const startedAt = performance.now();
  const value = await work();
  const ms = performance.now() - startedAt;
  loop.disable();
  return { value, ms, loopMs: loop.max / 1e6 };
}
