/** The worker's life: reads its environment, hands back what its predecessor left, runs until it is told to stop. */
import { flushCompileCache } from "node:module";
import { hostname } from "node:os";
import path from "node:path";
import { Client, Connection } from "@temporalio/client";
import pino, { type Logger } from "pino";
import { BACKENDS } from "../backends/registry.ts";
import { partOf, temporalOf } from "../cli/running-stack.ts";
import { type Config, ConfigError, EXIT_CONFIG, readConfig, secretValues } from "../contract/config.ts";
import { createRedaction } from "../contract/redaction.ts";
import { openStoreWhenFree } from "../store/open-when-free.ts";
import { sandboxHosts } from "../store/sandbox-owners.ts";
import { hasOldSessions } from "../store/sessions.ts";
import type { Store } from "../store/store.ts";
import { loadPlugins, PluginError, type SourcedTool } from "../tools/plugin-loader.ts";
import { PluginWork } from "../tools/plugin-work.ts";
import { createToolbox } from "../tools/registry.ts";
import { Announcing, announcedTools } from "./announcement.ts";
import { createBackends, type WorkerBackends } from "./backends.ts";
import { handBackAttempts } from "./hand-back.ts";
import { type HostIdentity, openHostIdentity } from "./host-identity.ts";
import { watchLooseEnds } from "./loose-ends.ts";
import { isAlive, isGone, ownProcessName, type ProcessName } from "./process-name.ts";
import { askEngines, createSandboxes } from "./sandboxes.ts";
import { openScratch } from "./scratch.ts";
import { ensureSearchAttributes } from "./search-attributes.ts";
import { takeSecrets } from "./secrets.ts";
import { joinTemporal } from "./stack-mark.ts";
import { ensureSweeps } from "./sweeps.ts";
import { untilTemporal, type Waiting } from "./until-temporal.ts";
import { startWorker, unreachable, type WorkerDeps } from "./worker.ts";

type Joined = Config & { readonly temporalAddress: string };

/** What the parts of this process are made of. */
interface Made {
  readonly config: Joined;
  readonly name: ProcessName;
  readonly store: Store;
  readonly logger: Logger;
  readonly backends: WorkerBackends;
  readonly tools: WorkerDeps["tools"];
  readonly sandboxes: WorkerDeps["sandboxes"];
  readonly secrets: WorkerDeps["secrets"];
}

async function main(): Promise<void> {
  const stopped = stopSignal();
  const given = readConfig(process.env);
  const stateDir = path.resolve(given.stateDir);
  const config = { ...given, stateDir, temporalAddress: temporalOf(given, stateDir) };
  const logger = pino({ level: config.logLevel, base: { process: "worker" } }, pino.destination(2));
  const warn = (fields: object, message: string): void => logger.warn(fields, message);
  const secrets = takeSecrets(process.env, { file: config.secretsFile, warn });
  const added = await loadTools(secrets, { config, logger });
  const waitFor = (what: string) => (reason: string) => {
    process.send?.({ type: "waiting", reason });
    logger.warn({ reason }, `the worker waits for ${what}`);
  };
  await using store = await openStoreWhenFree(stateDir, {
    synchronous: config.synchronous,
    signal: stopped,
    say: waitFor("its store"),
  });
  using host = await nameHost(config, store);
  const name = ownProcessName(host.id);
  await using scratch = openScratch(config.stateDir, name.id);
  await using backends = await createBackends({ config, scratchDir: scratch.folder, warn });
  const tools = createToolbox(added.map(({ tool }) => tool));
  const { database, stack: owner } = store;
  const { sandboxes, notice } = await createSandboxes({ config, owner, database, warn });
  const made: Made = { config, name, store, logger, backends, tools, sandboxes, secrets };
  const servesOld = await hasOldSessions(store.database);
  const waiting: Waiting = { stopped, say: waitFor("Temporal") };
  const [worker, handed] = await Promise.all([
    start(made, { servesOld, waiting }),
    untilTemporal(() => prepareTemporal(made), waiting),
  ]);
  process.send?.({ type: "ready", ...(notice !== undefined && { sandbox: notice }) });
  logger.info({ temporal: config.temporalAddress, handed }, "worker ready");
  await using _announcing = announce(made, added);
  askEngines(sandboxes).catch((error: unknown) => warn({ err: error }, "an engine was not asked what it can do"));
  scratch.sweep().catch((error: unknown) => warn({ err: error }, "what dead workers left was not removed"));
  flushCompileCache(); // Now, because a killed process writes nothing at its end.
  stopped.addEventListener("abort", () => worker.shutdown());
  if (stopped.aborted) worker.shutdown();
  await worker.done;
}

/** Where nobody says it, the folder does: earlier versions went by the machine's name, which sandboxes that are there still carry. */
async function nameHost({ sandbox, stateDir }: Config, { database }: Store): Promise<HostIdentity> {
  if (sandbox.hostId !== undefined) return { id: sandbox.hostId, [Symbol.dispose]: () => undefined };
  const known = await sandboxHosts(database);
  return openHostIdentity(stateDir, known.length === 1 ? known[0] : known.find((host) => host === hostname()));
}

/** First of all: when its tools cannot be used, nothing else of a worker is. */
function loadTools(
  secrets: WorkerDeps["secrets"],
  { config, logger }: Pick<Made, "config" | "logger">,
): Promise<readonly SourcedTool[]> {
  const redaction = createRedaction(secretValues(process.env));
  const redact = (text: string): string => redaction(secrets.redactor.text(text));
  const work = new PluginWork();
  watchLooseEnds({ work, redact, log: (level, fields, message) => logger[level](fields, message) });
  return loadPlugins(config.toolModules, {
    folder: process.cwd(),
    log: (level, fields, message) => logger[level](fields, message),
    redact,
    work,
  });
}

function announce(
  { config, name, store, logger, backends, tools, sandboxes, secrets }: Made,
  added: readonly SourcedTool[],
): Announcing {
  const sources = new Map(added.map(({ source, tool }) => [tool.name, source]));
  return new Announcing({
    database: store.database,
    id: name.id,
    config,
    tools: announcedTools(tools.tools, sources),
    secrets: [...secrets.values.keys()],
    sandboxes: sandboxes.announced,
    host: name.host,
    backends: BACKENDS.flatMap((entry) => {
      const backend = backends.byName.get(entry.name);
      return backend ? [{ entry, backend }] : [];
    }),
    isGone: (id) => isGone(id, name.host),
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

function start(
  { config, name, store, logger, backends, tools, sandboxes, secrets }: Made,
  how: Pick<WorkerDeps, "servesOld" | "waiting">,
): ReturnType<typeof startWorker> {
  return startWorker({
    store,
    sandboxes,
    backends: backends.byName,
    tools,
    secrets,
    downloads: { allow: config.downloadsAllow },
    closedKeptMs: config.closedKeptMs,
    host: name.host,
    id: name.id,
    ...how,
    process: name.process,
    address: config.temporalAddress,
    namespace: config.temporalNamespace,
    logger,
  });
}

/** Beside the worker's own start, so that what its predecessor left is waiting when it begins to poll. */
async function prepareTemporal({ config, name, store, logger }: Made): Promise<number> {
  const namespace = config.temporalNamespace;
  const { temporalAddress: address, stateDir } = config;
  const connection = await Connection.connect({ address }).catch((error: unknown) => unreachable(address, error));
  try {
    const { stack } = store;
    await joinTemporal(connection, { namespace, address, stack, stateDir, part: partOf(stateDir, address) });
    const client = new Client({ connection, namespace });
    const handed = await handBackAttempts({
      store,
      client,
      host: name.host,
      isAlive,
      warn: (fields, message) => logger.warn(fields, message),
    });
    await ensureSearchAttributes(connection, namespace);
    await ensureSweeps(client, store);
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

/** Ends the process when the worker has ended. */
export function runWorker(): void {
  main().then(
    () => process.exit(0),
    (error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      if (error instanceof ConfigError || error instanceof PluginError) return endUnusable(reason);
      process.stderr.write(`the worker stopped: ${reason}\n`);
      process.exit(1);
    },
  );
}
