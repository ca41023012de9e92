/**
 * The state directory: who holds it, which processes run on it, and which ones a killed supervisor left behind.
 *
 * The claim is a lock that the kernel drops when its holder dies, however it dies, so it is never stale and two
 * supervisors never both have it. The files beside it only tell people (and the next holder) what there is.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { ConfigError } from "../contract/config.ts";
import { makeFolders } from "../store/folders.ts";
import { makePrivateFolder } from "../store/private-folder.ts";
import { identityOf, isAlive, type KnownProcess } from "./process-identity.ts";
import { StackError } from "./stack-error.ts";

export const ProcessName = z.enum(["temporal", "worker", "api"]);
export type ProcessName = z.infer<typeof ProcessName>;

/** One line of `processes.json`: a living process of the stack. */
export const ProcessEntry = z.object({
  name: ProcessName,
  pid: z.number().int().positive(),
  /** How often it was started again. */
  restarts: z.number().int().nonnegative(),
  /** Of this pid, in ms since 1970. */
  startedAt: z.number().int(),
  /** waiting: it cannot be ready before something else is, which `waitsFor` names. Files of older versions say neither. */
  state: z.enum(["starting", "waiting", "ready"]).optional(),
  waitsFor: z.string().optional(),
  /** Of its state, in ms since 1970. */
  since: z.number().int().optional(),
});
export type ProcessEntry = z.infer<typeof ProcessEntry>;

const Holder = z.object({
  pid: z.number().int().positive(),
  since: z.number().int(),
  /** Of the pid: a supervisor that was killed leaves the file behind. */
  identity: z.string().optional(),
  apiUrl: z.string().nullable(),
  temporal: z.object({ address: z.string(), isOwn: z.boolean() }).nullable().optional(),
  processes: z.array(z.object({ name: ProcessName, pid: z.number().int().positive(), identity: z.string() })),
});
type Holder = z.infer<typeof Holder>;

/** A process that outlived its supervisor. */
export interface Orphan extends KnownProcess {
  readonly name: ProcessName;
}

/** Where others find the stack. */
export interface StackPlace {
  readonly apiUrl: string | null;
  readonly temporal: { readonly address: string; readonly isOwn: boolean } | null;
}

export class StateDirectory {
  readonly path: string;
  readonly #lock: DatabaseSync;
  readonly #since = Date.now();
  /** What the last holder left running, as it was when this one came. */
  readonly orphans: readonly Orphan[];
  /** Identities by pid, so that each process is looked up once, while it certainly is what we started. */
  readonly #identities = new Map<number, string>();

  private constructor(directory: string, lock: DatabaseSync) {
    this.path = directory;
    this.#lock = lock;
    this.orphans = (readHolder(directory)?.processes ?? []).filter(isAlive);
    // From now on the file names this holder, but keeps the orphans: should we die before they are stopped, the next one finds them.
    try {
      this.#writeHolder(this.orphans, { apiUrl: null, temporal: null });
    } catch (error) {
      lock.close();
      throw unusable(directory, "written to", error);
    }
  }

  /**
   * Makes the directory and takes it for this process, until `release` or death.
   * @throws StackError `held` when another supervisor lives on it, `state` when it cannot be made or locked.
   */
  static claim(directory: string): StateDirectory {
    try {
      makePrivateFolder(directory);
      makeFolders(path.join(directory, "logs"), 0o700);
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      throw unusable(directory, "made", error);
    }
    return new StateDirectory(directory, lock(directory));
  }

  get databaseFile(): string {
    return path.join(this.path, "temporal.db");
  }

  get compileCache(): string {
    return path.join(this.path, "compile-cache");
  }

  logFile(name: ProcessName): string {
    return path.join(this.path, "logs", `${name}.log`);
  }

  /** Writes both files anew. Identities go first: a process that is listed can also be taken over. */
  record(processes: readonly ProcessEntry[], at: StackPlace): void {
    const known = processes.map(({ name, pid }) => ({ name, pid, identity: this.#identity(pid) }));
    this.#writeHolder(known, at);
    this.#write("processes.json", processes);
  }

  /** Gives the directory back; calling again changes nothing. */
  release(): void {
    if (!this.#lock.isOpen) return;
    try {
      this.#write("processes.json", []);
    } catch {
      // On a full disk a file can still be removed, and none says the same.
      for (const name of ["processes.json", "processes.json.tmp"]) rmSync(path.join(this.path, name), { force: true });
    }
    rmSync(path.join(this.path, "supervisor.json"), { force: true });
    this.#lock.close();
  }

  #identity(pid: number): string {
    const identity = this.#identities.get(pid) ?? identityOf(pid) ?? "gone";
    this.#identities.set(pid, identity);
    return identity;
  }

  #writeHolder(processes: readonly Orphan[], at: StackPlace): void {
    const identity = this.#identity(process.pid);
    const holder: Holder = { pid: process.pid, identity, since: this.#since, ...at, processes: [...processes] };
    this.#write("supervisor.json", holder);
  }

  /** Not flushed to the disk: they speak of processes, and no process survives a power cut. */
  #write(name: string, value: unknown): void {
    const file = path.join(this.path, name);
    writeFileSync(`${file}.tmp`, `${JSON.stringify(value, null, 1)}\n`, { mode: 0o600 });
    renameSync(`${file}.tmp`, file);
  }
}

function lock(directory: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path.join(directory, "supervisor.lock"), { timeout: 0 });
    database.exec("BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database?.close();
    if (!/database is locked/.test(reason(error))) throw unusable(directory, "locked", error);
    throw new StackError("held", heldBy(directory), { cause: error });
  }
}

function heldBy(directory: string): string {
  const holder = readHolder(directory);
  if (!holder)
    return `another perdure is just starting on ${directory}; wait for it, or set PERDURE_STATE_DIR to another folder`;
  const api = holder.apiUrl === null ? "it is still starting" : `its api is ${holder.apiUrl}`;
  const since = new Date(holder.since).toISOString();
  return (
    `another perdure holds ${directory}: pid ${holder.pid}, since ${since}, ${api}. ` +
    `Use that one, stop it (kill ${holder.pid}), or set PERDURE_STATE_DIR to another folder`
  );
}

function readHolder(directory: string): Holder | undefined {
  try {
    return Holder.parse(JSON.parse(readFileSync(path.join(directory, "supervisor.json"), "utf8")));
  } catch {
    return undefined; // Missing, or from another version: then it tells nothing that could be trusted.
  }
}

function unusable(directory: string, what: string, error: unknown): StackError {
  const advice = /ENOSPC|EDQUOT|disk is full/.test(reason(error)) ? "; free some space there and start again" : "";
  const message = `the state directory ${directory} cannot be ${what}: ${reason(error)}${advice}`;
  return new StackError("state", message, { cause: error });
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
