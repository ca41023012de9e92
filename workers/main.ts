/** The worker process: reads its environment, hands back what its predecessor left, runs until it is told to stop. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { Client, Connection } from "@temporalio/client";
import pino, { type Logger } from "pino";
import { BACKENDS } from "../backends/registry.ts";
import { type Config, ConfigError, EXIT_CONFIG, readConfig, secretValues } from "../contract/config.ts";
import { createRedaction } from "../contract/redaction.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { openStore, type Store } from "../store/store.ts";
import { loadPlugins, PluginError, type SourcedTool } from "../tools/plugin-loader.ts";
import { createToolbox } from "../tools/registry.ts";
import { Announcing, announcedTools } from "./announcement.ts";
import { createBackends, type WorkerBackends } from "./backends.ts";
import { handBackAttempts } from "./hand-back.ts";
import { isAlive, isGone, ownProcessName } from "./process-name.ts";
import { openScratch } from "./scratch.ts";
import { ensureSearchAttributes } from "./search-attributes.ts";
import { startWorker, type WorkerDeps } from "./worker.ts";

const DEFAULT_ADDRESS = "127.0.0.1:7233";

/** What the parts of this process are made of. */
interface Made {
  readonly config: Config;
  readonly store: Store;
  readonly logger: Logger;
  readonly backends: WorkerBackends;
  readonly tools: WorkerDeps["tools"];
}

const NAME = ownProcessName();

async function main(): Promise<void> {
  const stopped = stopSignal();
  const given = readConfig(process.env);
  const config = { ...given, stateDir: path.resolve(given.stateDir) };
  const logger = pino({ level: config.logLevel, base: { process: "worker" } }, pino.destination(2));
  const added = await loadTools(config, logger);
  mkdirSync(config.stateDir, { recursive: true });
  await using store = await openStore(config.stateDir);
  await using scratch = openScratch(config.stateDir, NAME.id);
  const warn = (fields: object, message: string): void => logger.warn(fields, message);
  await using backends = await createBackends({ config, scratchDir: scratch.folder, warn });
  const tools = createToolbox(added.map(({ tool }) => tool));
  const made: Made = { config, store, logger, backends, tools };
  const [worker, handed] = await Promise.all([start(made), prepareTemporal(config, store)]);
  process.send?.({ type: "ready" });
  logger.info({ temporal: config.temporalAddress ?? DEFAULT_ADDRESS, handed }, "worker ready");
  await using _announcing = announce(made, added);
  scratch.sweep().catch((error: unknown) => warn({ err: error }, "what dead workers left was not removed"));
  stopped.addEventListener("abort", () => worker.shutdown());
  if (stopped.aborted) worker.shutdown();
  await worker.done;
}

/** First of all: when its tools cannot be used, nothing else of a worker is. */
function loadTools(config: Config, logger: Logger): Promise<readonly SourcedTool[]> {
  return loadPlugins(config.toolModules, {
    folder: process.cwd(),
    log: (level, fields, message) => logger[level](fields, message),
    redact: createRedaction(secretValues(process.env)),
  });
}

function announce({ config, store, logger, backends, tools }: Made, added: readonly SourcedTool[]): Announcing {
  const sources = new Map(added.map(({ source, tool }) => [tool.name, source]));
  return new Announcing({
    database: store.database,
    id: NAME.id,
    config,
    tools: announcedTools(tools.tools, sources),
    backends: BACKENDS.flatMap((entry) => {
      const backend = backends.byName.get(entry.name);
      return backend ? [{ entry, backend }] : [];
    }),
    isGone,
    warn: (fields, message) => logger.warn(fields, message),
  });
}

/** Aborts when this process is told to stop, or when the supervisor that started it is gone. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop.abort());
  process.once("disconnect", () => stop.abort());
  return stop.signal;
}

function start({ config, store, logger, backends, tools }: Made): ReturnType<typeof startWorker> {
  return startWorker({
    store,
    sandboxes: createLocalProvider({ root: path.join(config.stateDir, "sandboxes") }),
    backends: backends.byName,
    tools,
    host: NAME.host,
    process: NAME.process,
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
    const handed = await handBackAttempts({ store, client, host: NAME.host, isAlive });
    await ensureSearchAttributes(connection, namespace);
    return handed;
  } finally {
    await connection.close();
  }
}

/** To start again would not help: whoever supervises this process hears why, and does not. */
function endUnusable(reason: string): void {
  const message = reason.replaceAll(/^/gm, "worker: "); // The supervisor says whose worker it is.
  process.stderr.write(`${message.replaceAll(/^/gm, "perdure ")}\n`);
  const end = (): void => process.exit(EXIT_CONFIG);
  if (process.send) process.send({ type: "unusable", message }, undefined, undefined, end);
  else end();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof ConfigError || error instanceof PluginError) return endUnusable(reason);
    process.stderr.write(`the worker stopped: ${reason}\n`);
    process.exit(1);
  },
);
