/** What a command costs in the sandbox of each provider, and the first one in a new sandbox. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type CallId, newId, type SandboxId } from "../contract/ids.ts";
import { createBubblewrapProvider } from "../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../sandbox/bubblewrap-detect.ts";
import { createDockerProvider } from "../sandbox/docker.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { createModalProvider } from "../sandbox/modal.ts";
import type { Sandbox, SandboxProvider } from "../sandbox/provider.ts";
import { startEngine } from "./sandboxes/docker-victims.ts";
import { startModal } from "./sandboxes/modal-victims.ts";
import { type Measured, percentile, type RowKey, showMs, summarize } from "./table.ts";

const COMMANDS = 60;
const WARM_UP = 5;
const NEW_SANDBOXES = 20;
const TIMEOUT_MS = 30_000;

type ProviderRow = Extract<RowKey, `exec-${string}`>;

const MUST_MS: Readonly<Record<ProviderRow, number>> = {
  "exec-local": 12,
  "exec-bubblewrap": 25,
  "exec-docker": 90,
  "exec-modal": 25,
};
const MUST_FIRST_MS = 60;

/** A provider of one's own for the measuring; where there can be none, the reason. */
type Found = { readonly words: string; readonly provider: SandboxProvider; close(): Promise<void> } | string;

const FIND: Readonly<Record<ProviderRow, (folder: string) => Promise<Found>>> = {
  "exec-local": async (root) => ({ words: "", provider: createLocalProvider({ root }), close: async () => undefined }),
  "exec-bubblewrap": findBubblewrap,
  "exec-docker": async () => {
    const { engine, image, words, close } = await startEngine();
    return { words, provider: createDockerProvider({ engine, image, owner: "bench" }), close };
  },
  "exec-modal": async () => {
    const found = await startModal();
    const { MODAL_SERVER_URL: serverUrl = "", MODAL_TOKEN_ID: tokenId = "" } = found.environment;
    const tokenSecret = found.environment["MODAL_TOKEN_SECRET"] ?? "";
    const provider = createModalProvider({ tokenId, tokenSecret, serverUrl, app: "bench", owner: "bench" });
    return { words: "the stand-in of Modal", provider, close: async () => await found[Symbol.asyncDispose]() };
  },
};

export async function measureCommands(key: ProviderRow): Promise<Measured> {
  return await withProvider(key, FIND[key], async (provider, words) => {
    const ms = await inSandbox(provider, `sbx_${newId("ses")}-1`, async (sandbox) => {
      for (let i = 0; i < WARM_UP; i++) await runTrue(sandbox);
      const values: number[] = [];
      for (let i = 0; i < COMMANDS; i++) values.push(await timed(() => runTrue(sandbox)));
      return values;
    });
    const notes = [
      `${COMMANDS} commands one after another in one sandbox${words === "" ? "" : `: ${words}`}; p95 ${percentile(ms, 95).toFixed(1)} ms`,
    ];
    return { key, value: showMs(summarize(ms)), passes: percentile(ms, 50) <= MUST_MS[key], notes, data: ms };
  });
}

/** From nothing to the end of the first command. */
export async function measureFirstCommand(): Promise<Measured> {
  return await withProvider("first-command", findBubblewrap, async (provider) => {
    const ms: number[] = [];
    for (let i = 0; i < NEW_SANDBOXES; i++) {
      const id: SandboxId = `sbx_${newId("ses")}-1`;
      const startedAt = performance.now();
      await inSandbox(provider, id, async (sandbox) => {
        await runTrue(sandbox);
        ms.push(performance.now() - startedAt);
      });
    }
    const notes = [
      `${NEW_SANDBOXES} sandboxes, from \`open\` to the end of \`true\`; the very first of the process: ${ms[0]?.toFixed(1)} ms`,
    ];
    const value = showMs(summarize(ms));
    return { key: "first-command", value, passes: percentile(ms, 50) <= MUST_FIRST_MS, notes, data: ms };
  });
}

async function findBubblewrap(root: string): Promise<Found> {
  const found = await detectBubblewrap();
  if (!found.works) return found.reason;
  return { words: "", provider: createBubblewrapProvider({ root, entrance: found }), close: async () => undefined };
}

/** A row that says why not, where the provider cannot be had. */
async function withProvider(
  key: RowKey,
  find: (folder: string) => Promise<Found>,
  measure: (provider: SandboxProvider, words: string) => Promise<Measured>,
): Promise<Measured> {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-bench-commands-"));
  try {
    const found = await find(folder).catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    );
    if (typeof found === "string")
      return { key, value: `skipped: ${found}`, passes: "skipped", notes: [], data: found };
    try {
      return await measure(found.provider, found.words);
    } finally {
      await found.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function inSandbox<T>(
  provider: SandboxProvider,
  id: SandboxId,
  use: (sandbox: Sandbox) => Promise<T>,
): Promise<T> {
  try {
    await using sandbox = await provider.open(id);
    return await use(sandbox);
  } finally {
    await provider.remove(id);
  }
}

async function runTrue(sandbox: Sandbox): Promise<void> {
  const callId: CallId = newId("call");
  await sandbox.start({ callId, command: "true", timeoutMs: TIMEOUT_MS });
  for await (const event of sandbox.follow(callId, { stdout: 0, stderr: 0 }, AbortSignal.timeout(TIMEOUT_MS))) {
    if (event.type !== "ended") continue;
    if (event.end.ended === "exited" && event.end.exitCode === 0) return;
    throw new Error(`\`true\` ended as ${JSON.stringify(event.end)}`);
  }
  throw new Error("`true` has no end");
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}
