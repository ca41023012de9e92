/**
 * The embedded Temporal server: its tuned command line, its database's first start, and the guard that ends it when
 * its supervisor is killed.
 */
import { randomInt } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { renameDurably } from "../store/durable-file.ts";
import { waitServing } from "./grpc-health.ts";
import { packagePath } from "./package-root.ts";
import { StackError } from "./stack-error.ts";
import { HTTP_CLOSED } from "./temporal-http.ts";
import type { UiPlace } from "./ui-proxy.ts";

/** Everything here is embedded: nobody else on the network has business with it. */
export const TEMPORAL_HOST = "127.0.0.1";
/** The ports people expect, taken when they are free. */
export const TEMPORAL_PORTS = { frontend: 7233, ui: 8233 } as const;

/**
 * Where the UI itself listens. It answers any page that finds it, so nobody can: on Linux all of 127.0.0.0/8 is the loopback,
 * and 16 million addresses with some 28,000 ports each are too many for a page to try.
 */
export function hiddenHost(): string {
  if (process.platform !== "linux") return TEMPORAL_HOST;
  return `127.${randomInt(1, 255)}.${randomInt(0, 256)}.${randomInt(1, 255)}`;
}

const FIRST_LOOK_MS = 150;

/**
 * Measured, each of them: without the first four an activity costs 95 ms instead of 7.5, and a timer under a second a
 * whole one.
 */
const TUNING = [
  ...[
    "history.transferProcessorMaxPollRPS=10000",
    "system.enableActivityEagerExecution=true",
    "history.timerProcessorMaxPollRPS=1000",
    'history.timerProcessorMaxTimeShift="20ms"',
    "history.visibilityProcessorMaxPollRPS=200",
    "frontend.namespaceRPS.visibility=200",
  ].flatMap((setting) => ["--dynamic-config-value", setting]),
  ...["PerdureStatus=Keyword", "PerdureAgent=Keyword", "PerdureWaitingFor=Keyword"].flatMap((attribute) => [
    "--search-attribute",
    attribute,
  ]),
];

/**
 * Runs the command in its own place, beside a watcher that holds a pipe from the supervisor on descriptor 3. The
 * watcher is there before the server is, so no instant is unguarded. A line on the pipe says that the server has
 * ended; the pipe's end without a line says that the supervisor was killed.
 */
const GUARD = `
(
  trap '' HUP INT TERM
  if read -r _ <&3; then exit; fi
  kill -TERM $$
  for _ in 1 2 3; do kill -0 $$ || exit; sleep 1; done
  kill -KILL $$
) </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
`;

export interface TemporalServer {
  readonly binary: string;
  readonly databaseFile: string;
  readonly namespace: string;
  /** Either survives any kill of the process, full a power cut as well. */
  readonly synchronous: "normal" | "full";
  readonly port: number;
  /** Where its HTTP API would be, were it open: see `temporal-http.ts`. */
  readonly httpPort: number;
  /** Where its UI listens, for nobody but our proxy; undefined: it has none. */
  readonly ui: UiPlace | undefined;
}

export function temporalCommand(server: TemporalServer): { readonly file: string; readonly args: readonly string[] } {
  const { binary, databaseFile, namespace, synchronous, port, httpPort, ui } = server;
  const place = ["--ip", TEMPORAL_HOST, "--port", String(port), "--http-port", String(httpPort), ...HTTP_CLOSED];
  place.push(...(ui ? ["--ui-ip", ui.host, "--ui-port", String(ui.port), "--ui-disable-news-fetch"] : ["--headless"]));
  const store = ["--db-filename", databaseFile, "--namespace", namespace, "--log-level", "error"];
  store.push(...["journal_mode=wal", `synchronous=${synchronous}`].flatMap((pragma) => ["--sqlite-pragma", pragma]));
  return {
    file: "/bin/sh",
    args: ["-c", GUARD, "perdure-temporal", binary, "server", "start-dev", ...place, ...store, ...TUNING],
  };
}

/** What was done with a database file that nothing vouches for; undefined when there was nothing to do. */
export type DoubtfulDatabase =
  | { readonly kept: true; readonly message: string }
  | { readonly kept: false; readonly message: string };

/**
 * To be called before each start. A kill in the first 100 ms of the very first start leaves a half-made schema that
 * never starts again; so does a file that is no database. Such a file is moved aside, and the server begins with a new
 * one. A whole database without its `.ok` file, such as a restored copy, is used as it is.
 */
export function settleDatabase(databaseFile: string): DoubtfulDatabase | undefined {
  if (!existsSync(databaseFile) || existsSync(okFile(databaseFile))) return undefined;
  if (hasNamespaces(databaseFile)) {
    const message = `${databaseFile} has no ${path.basename(okFile(databaseFile))} beside it, but it is a whole database: it is used`;
    return { kept: true, message };
  }
  const aside = `${databaseFile}.unusable-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (existsSync(databaseFile + suffix)) renameDurably(databaseFile + suffix, aside + suffix);
  }
  const message = `${databaseFile} is not a database that Temporal can start from; it was moved to ${aside}, and Temporal starts with a new one. Sessions continue from what the store says`;
  return { kept: false, message };
}

/** The server writes its namespace as the last part of its first start. */
function hasNamespaces(databaseFile: string): boolean {
  try {
    const database = new DatabaseSync(databaseFile, { timeout: 1_000 });
    try {
      return Number(database.prepare("select count(*) as n from namespaces").get()?.["n"] ?? 0) > 0;
    } finally {
      database.close();
    }
  } catch {
    return false; // No such table, or no database.
  }
}

/** To be called when the server has answered: from now on the database holds things. */
export function confirmDatabase(databaseFile: string): void {
  writeFileSync(okFile(databaseFile), "The schema of the database beside this file is complete.\n");
}

/**
 * Waits until our server serves. When another program took the port in the instant after it was found free, ours ends
 * within 100 ms, and ours never serves before 200: so the first look is between the two, and never mistakes a
 * stranger's server for ours.
 */
export async function waitOwnTemporal(address: string, signal: AbortSignal): Promise<boolean> {
  await delay(FIRST_LOOK_MS);
  return waitServing(address, signal);
}

/** What the server may know of our environment: no key of ours, and no TEMPORAL_* variable that would change it. */
export function temporalEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR, TZ } = env;
  return { PATH, HOME, TMPDIR, TZ, NO_COLOR: "1" };
}

/** Finds or gets the server's binary, as `npm test` and `npm start` did in their set-up. */
export async function findTemporal(log: (line: string) => void): Promise<string> {
  const script = pathToFileURL(packagePath("scripts/get-temporal.mjs")).href;
  const { getTemporal } = (await import(script)) as GetTemporal;
  try {
    return await getTemporal({ log });
  } catch (error) {
    throw new StackError("no_temporal", error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** The script runs on Node 20 before anything is installed, so it is plain JavaScript without types of its own. */
interface GetTemporal {
  readonly getTemporal: (options: { readonly log: (line: string) => void }) => Promise<string>;
}

function okFile(databaseFile: string): string {
  return `${databaseFile}.ok`;
}
