/** The worker process: reads its environment, hands back what its predecessor left, runs until it is told to stop. */
import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { Client, Connection } from "@temporalio/client";
import pino from "pino";
import { createOpenAiBackend } from "../backends/openai/backend.ts";
import { identityOf } from "../cli/process-identity.ts";
import { ConfigError, readConfig } from "../contract/config.ts";
import { createLocalProvider } from "../sandbox/local.ts";
import { openStore } from "../store/store.ts";
import { handBackAttempts } from "./hand-back.ts";
import { ensureSearchAttributes } from "./search-attributes.ts";
import { startWorker } from "./worker.ts";

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const logger = pino({ level: config.logLevel, base: { process: "worker" } }, pino.destination(2));
  const stateDir = path.resolve(config.stateDir);
  mkdirSync(stateDir, { recursive: true });
  const address = config.temporalAddress ?? "127.0.0.1:7233";
  const host = hostname();
  await using store = await openStore(stateDir);
  const backend = createOpenAiBackend({
    apiKey: config.openaiApiKey,
    baseUrl: config.openaiBaseUrl,
    defaultModel: config.model,
  });
  const connection = await Connection.connect({ address });
  const client = new Client({ connection, namespace: config.temporalNamespace });
  await ensureSearchAttributes(connection, config.temporalNamespace);
  const worker = await startWorker({
    store,
    sandboxes: createLocalProvider({ root: path.join(stateDir, "sandboxes") }),
    backends: new Map([[backend.name, backend]]),
    host,
    process: `${process.pid}:${identityOf(process.pid)}`,
    address,
    namespace: config.temporalNamespace,
    logger,
  });
  const isAlive = (known: string): boolean => {
    const [pid, ...identity] = known.split(":");
    return identityOf(Number(pid)) === identity.join(":");
  };
  const handed = await handBackAttempts({ store, client, host, isAlive });
  if (handed > 0) logger.info({ handed }, "handed back the attempts of a worker that died");
  process.send?.({ type: "ready" });
  logger.info({ address, handed }, "worker ready");

  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => worker.shutdown());
  process.once("disconnect", () => worker.shutdown()); // The supervisor is gone.
  await worker.done;
  await connection.close();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const text =
      error instanceof ConfigError
        ? error.message
        : `the worker stopped: ${error instanceof Error ? error.message : String(error)}`;
    process.stderr.write(`${text}\n`);
    process.exit(1);
  },
);
