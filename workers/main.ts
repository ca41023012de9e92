/** The worker process: reads its environment, hands back what its predecessor left, runs until it is told to stop. */
import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { Client, Connection } from "@temporalio/client";
import pino, { type Logger } from "pino";
import { createOpenAiBackend } from "../backends/openai/backend.ts";
import { identityOf } from "../cli/process-identity.ts";
import { type Config, ConfigError, readConfig } from "../contract/config.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { openStore, type Store } from "../store/store.ts";
import { handBackAttempts } from "./hand-back.ts";
import { ensureSearchAttributes } from "./search-attributes.ts";
import { startWorker } from "./worker.ts";

const DEFAULT_ADDRESS = "127.0.0.1:7233";

async function main(): Promise<void> {
  const stopped = stopSignal();
  const config = readConfig(process.env);
  const logger = pino({ level: config.logLevel, base: { process: "worker" } }, pino.destination(2));
  const stateDir = path.resolve(config.stateDir);
  mkdirSync(stateDir, { recursive: true });
  await using store = await openStore(stateDir);
  const [worker, handed] = await Promise.all([
    start({ ...config, stateDir }, store, logger),
    prepareTemporal(config, store),
  ]);
  process.send?.({ type: "ready" });
  logger.info({ temporal: config.temporalAddress ?? DEFAULT_ADDRESS, handed }, "worker ready");
  stopped.addEventListener("abort", () => worker.shutdown());
  if (stopped.aborted) worker.shutdown();
  await worker.done;
}

/** Aborts when this process is told to stop, or when the supervisor that started it is gone. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
  process.once("disconnect", () => stop.abort());
  return stop.signal;
}

function start(config: Config, store: Store, logger: Logger): ReturnType<typeof startWorker> {
  const backend = createOpenAiBackend({
    apiKey: config.openaiApiKey,
    baseUrl: config.openaiBaseUrl,
    defaultModel: config.model,
  });
  return startWorker({
    store,
    sandboxes: createLocalProvider({ root: path.join(config.stateDir, "sandboxes") }),
    backends: new Map([[backend.name, backend]]),
    host: hostname(),
    process: `${process.pid}:${identityOf(process.pid)}`,
    address: config.temporalAddress ?? DEFAULT_ADDRESS,
    namespace: config.temporalNamespace,
    logger,
  });
}

/** Beside the worker's own start, so that what its predecessor left is waiting when it begins to poll. */
async function prepareTemporal(config: Config, store: Store): Promise<number> {
  const namespace = config.temporalNamespace;
  const connection = await Connection.connect({ address: config.temporalAddress ?? DEFAULT_ADDRESS });
  try {
    const client = new Client({ connection, namespace });
    const handed = await handBackAttempts({ store, client, host: hostname(), isAlive });
    await ensureSearchAttributes(connection, namespace);
    return handed;
  } finally {
    await connection.close();
  }
}

/** Whether the worker process of an attempt lives: its pid, and the instant the kernel started it. */
function isAlive(known: string): boolean {
  const [pid, ...identity] = known.split(":");
  return identityOf(Number(pid)) === identity.join(":");
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${error instanceof ConfigError ? reason : `the worker stopped: ${reason}`}\n`);
    process.exit(1);
  },
);
