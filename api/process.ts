/** The life of the API process: configuration, store, socket, then Temporal; and its end on a signal or when its parent is gone. */
import { existsSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Logger, pino } from "pino";
import { partOf, stackProcesses, temporalOf } from "../cli/running-stack.ts";
import { type Config, ConfigError, EXIT_CONFIG, readConfig } from "../contract/config.ts";
import type { WaitingProcess } from "../contract/http.ts";
import { LIMITS } from "../contract/limits.ts";
import { makeToken, TokenError, tokenFile } from "../store/api-token.ts";
import { StoreError } from "../store/error.ts";
import { openStoreWhenFree } from "../store/open-when-free.ts";
import type { Store } from "../store/store.ts";
import type { ApiToken } from "./authentication.ts";
import { createLazySessions } from "./lazy-sessions.ts";
import { type RunningApi, startServer } from "./server.ts";
import { isKind, type Sessions } from "./sessions.ts";

/** In the working directory. */
const AGENTS_DEFAULT = "agents";
/** Loading Temporal's client stops the process for a moment; clients that come back to their streams go first. */
const WARM_UP_MS = 500;

export async function runApi(): Promise<void> {
  try {
    await start();
  } catch (error) {
    const message = `api: ${explained(error)}`;
    process.stderr.write(`perdure ${message}\n`);
    if (error instanceof ConfigError || error instanceof TokenError) endUnusable(message);
    else process.exit(1);
  }
}

/** To start again would not help: whoever supervises this process hears why, and does not. */
function endUnusable(message: string): void {
  const end = (): void => process.exit(EXIT_CONFIG);
  if (process.send) process.send({ type: "unusable", message }, undefined, undefined, end);
  else end();
}

async function start(): Promise<void> {
  const config = readConfig(process.env);
  const logger = pino({ name: "api", level: config.logLevel });
  const stateDir = path.resolve(config.stateDir);
  const address = temporalOf(config, stateDir);
  const store = await openWhenFree(config, logger);
  const sessions = createLazySessions(async () => {
    const { openTemporalSessions } = await import("./temporal-sessions.ts");
    return openTemporalSessions({
      address,
      // A whole stack may be told to share a Temporal; a process that came by itself is at the wrong one.
      isGuest: partOf(stateDir, address) !== "none",
      namespace: config.temporalNamespace,
      store,
    });
  });
  await loadAgents(config, store, logger);
  const api = await startServer(
    { store, sessions, logger, token: apiToken(config, stateDir), waiting: () => waitingAt(stateDir) },
    { host: config.host, port: config.port },
  );
  const look = new AbortController();
  void lookAtTemporal(sessions, logger, look.signal);
  endOnSignal(async () => {
    look.abort();
    await api.drain();
    // The gateway is left as it is: it would wait for calls to a Temporal that may be gone, and there is nobody to answer.
    await store[Symbol.asyncDispose]();
  });
  announce(api, config.host, logger);
}

function waitingAt(stateDir: string): readonly WaitingProcess[] {
  return stackProcesses(stateDir).flatMap(({ name, state, waitsFor = "", since = 0 }) =>
    state === "waiting" ? [{ process: name, waitsFor, since }] : [],
  );
}

/** While nothing is open yet, a signal or the end of the parent just ends the process. */
async function openWhenFree({ stateDir, synchronous }: Config, logger: Logger): Promise<Store> {
  const leave = (): void => process.exit(0);
  process.once("disconnect", leave);
  const say = (reason: string): void => {
    process.send?.({ type: "waiting", reason });
    logger.warn({ reason }, "the API waits for its store");
  };
  try {
    return await openStoreWhenFree(path.resolve(stateDir), { synchronous, signal: new AbortController().signal, say });
  } finally {
    process.off("disconnect", leave);
  }
}

function apiToken({ auth }: Config, stateDir: string): ApiToken | undefined {
  return auth === "off" ? undefined : { value: makeToken(stateDir), place: tokenFile(stateDir) };
}

/** Before the API is ready, so that the first request finds the agents. Most APIs have no such folder, and load no code for it. */
async function loadAgents(config: Config, store: Store, logger: Logger): Promise<void> {
  const folder = path.resolve(config.agentsFolder ?? AGENTS_DEFAULT);
  const isNamed = config.agentsFolder !== undefined;
  if (!isNamed && !existsSync(folder)) return;
  const { loadAgentFolder } = await import("./agent-folder.ts");
  await loadAgentFolder(store.database, { path: folder, isNamed }, logger);
}

/** Loads Temporal's client, and looks until there is an answer: a Temporal that is another stack's ends this process. */
async function lookAtTemporal(sessions: Sessions, logger: Logger, signal: AbortSignal): Promise<void> {
  for (let waitMs: number = WARM_UP_MS; ; waitMs = LIMITS.readyTimeoutMs) {
    await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      await sessions.check();
      return;
    } catch (error) {
      if (isKind(error, "foreign")) {
        const message = `api: ${error.message}: set PERDURE_STATE_DIR to the folder of that stack, or TEMPORAL_ADDRESS`;
        process.stderr.write(`perdure ${message}\n`);
        return endUnusable(message);
      }
      if (waitMs === WARM_UP_MS) logger.warn({ err: error }, "Temporal does not answer yet");
    }
  }
}

function announce(api: RunningApi, host: string, logger: { info(fields: object, text: string): void }): void {
  logger.info({ host, port: api.port }, "the API listens");
  process.send?.({ type: "ready", port: api.port });
}

/** Ends the process once, whoever asks first, and within the time that it has. */
function endOnSignal(end: () => Promise<void>): void {
  let isEnding = false;
  const stop = (): void => {
    if (isEnding) return;
    isEnding = true;
    setTimeout(() => process.exit(0), LIMITS.drainMs).unref();
    end().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("disconnect", stop);
  // A parent that is gone takes the reader of our output with it; that must not stop the drain.
  process.stdout.on("error", () => undefined);
}

function explained(error: unknown): string {
  if (error instanceof ConfigError || error instanceof StoreError) return error.message;
  if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
    const at = "port" in error ? ` ${String(error.port)}` : "";
    return `port${at} is taken by another process; stop it, or set PERDURE_PORT to another one (0 takes any free one)`;
  }
  return error instanceof Error ? error.message : String(error);
}
