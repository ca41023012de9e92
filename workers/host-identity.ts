/**
 * What this host is called: an id in the state folder, made once. A host's name is none: a recreated container has another one,
 * and its sandboxes, which lie in the folder, would be taken for lost.
 *
 * Each host has a file with the boot that it was last seen in, held (shared) while a worker lives. Two machines that share a
 * folder are so told apart from one machine that has been started anew: only the second finds the file held by nobody.
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makeFolders } from "../store/folders.ts";

/** Machines at one folder. */
const HOSTS_MAX = 64;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

export interface HostIdentity extends Disposable {
  readonly id: string;
}

/** @param known What earlier versions called the host whose sandboxes lie here; it keeps that name. */
export function openHostIdentity(stateDir: string, known: string | undefined, boot = bootId()): HostIdentity {
  const folder = path.join(stateDir, "hosts");
  makeFolders(folder, 0o700);
  const rank = (id: string): number => (isOf(path.join(folder, id), boot) ? 0 : 1);
  for (let tries = 0; tries < HOSTS_MAX; tries++) {
    // Its own file first, and only then one that is nobody's.
    for (const id of [...idsIn(folder)].sort((a, b) => rank(a) - rank(b))) {
      const held = take(path.join(folder, id), boot);
      if (held) return identity(id, held);
    }
    const isFirst = idsIn(folder).length === 0;
    const id = isFirst && known !== undefined && NAME.test(known) ? known : `host-${randomBytes(6).toString("hex")}`;
    const made = take(path.join(folder, id), boot);
    if (made) return identity(id, made);
  }
  throw new Error(`none of the hosts in ${folder} could be taken: remove the files of those that are gone`);
}

function identity(id: string, held: DatabaseSync): HostIdentity {
  return {
    id,
    [Symbol.dispose]: () => {
      if (held.isOpen) held.close();
    },
  };
}

function idsIn(folder: string): readonly string[] {
  return readdirSync(folder)
    .filter((name) => NAME.test(name) && !/-(journal|wal|shm)$/.test(name))
    .sort()
    .slice(0, HOSTS_MAX);
}

function isOf(file: string, boot: string): boolean {
  const database = new DatabaseSync(file, { timeout: 2_000 });
  try {
    return read(database) === boot;
  } catch {
    return false; // It is just being made.
  } finally {
    database.close();
  }
}

/** Holds the file; undefined when a machine that lives has it. */
function take(file: string, boot: string): DatabaseSync | undefined {
  const database = new DatabaseSync(file, { timeout: 2_000 });
  try {
    database.exec("create table if not exists host (boot text not null)");
    if (read(database) !== boot) {
      // Nobody may hold it: a machine that has been started anew, or a folder that was moved.
      database.exec("pragma busy_timeout = 0; begin exclusive");
      database.exec("delete from host");
      database.prepare("insert into host (boot) values (?)").run(boot);
      database.exec("commit");
    }
    // A read that is not ended keeps the file from being written by others, until this process ends, however it ends.
    database.exec("begin");
    if (read(database) === boot) return database;
  } catch (error) {
    if (!/locked|busy/.test(String(error))) throw error;
  }
  database.close();
  return undefined;
}

function read(database: DatabaseSync): string | undefined {
  const row = database.prepare("select boot from host").get();
  return row === undefined ? undefined : String(row["boot"]);
}

/** Of the kernel, so that containers of one machine are one host as long as it is not started anew. */
function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "unknown";
  }
}
