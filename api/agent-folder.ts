/**
 * The folder of agent profiles, loaded when the API starts. A file that is no agent is named in the log with what is wrong
 * with it, and stops neither the others nor the start. A file that is gone deletes nothing: sessions and people may need its agent.
 */
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { toAgent } from "../contract/agents.ts";
import type { WorkerAnnouncement } from "../contract/backends.ts";
import { ProblemError } from "../contract/errors.ts";
import { PutAgent } from "../contract/http.ts";
import type { AgentId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { AgentFileError, isAgentFile, readAgentFile } from "../store/agent-files.ts";
import { findAgent, findAgentVersion, putAgent } from "../store/agents.ts";
import type { Database } from "../store/database.ts";
import { runningWorkers } from "../store/workers.ts";
import { type CheckedAgent, handoffFaults, ownFaults, workerFaults } from "./agent-check.ts";
import { type Fault, parseFrom } from "./input.ts";
import { agentPointers } from "./session-configuration.ts";

export interface FolderLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

export interface AgentFolder {
  readonly path: string;
  /** Somebody named it: that it is not there is worth a word. */
  readonly isNamed: boolean;
}

interface Profile extends CheckedAgent {
  readonly id: AgentId;
  readonly file: string;
}

/** Loads every file of the folder: a new version of each agent whose content has changed. Throws what the store throws, and nothing else. */
export async function loadAgentFolder(database: Database, folder: AgentFolder, log: FolderLog): Promise<void> {
  const names = await fileNames(folder, log);
  if (names.length === 0) return;
  const profiles = await readProfiles(folder, names, log);
  const ids = new Set(profiles.map(({ id }) => id));
  const workers = await runningWorkers(database);
  let changed = 0;
  let sound = 0;
  for (const profile of profiles) {
    if (!(await isSound(database, { profile, ids, workers }, log))) continue;
    const { id, agent, file } = profile;
    const { stored, created } = await putAgent(database, { id, agent, source: path.basename(file) });
    sound++;
    if (!created) continue;
    changed++;
    log.info({ agent: id, version: stored.version, file }, "an agent was loaded from its file");
  }
  log.info(
    { folder: folder.path, agents: sound, changed, broken: names.length - sound },
    "the folder of agents was read",
  );
}

async function fileNames(folder: AgentFolder, log: FolderLog): Promise<readonly string[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder.path, { withFileTypes: true });
  } catch (error) {
    if (folder.isNamed || (error as NodeJS.ErrnoException).code !== "ENOENT") {
      log.error(
        { folder: folder.path, err: error },
        "the folder of agents cannot be read; no agent was loaded from it",
      );
    }
    return [];
  }
  const names = entries
    .filter((entry) => !entry.isDirectory() && isAgentFile(entry.name))
    .map(({ name }) => name)
    .sort();
  const { agentFolderFilesMax: most } = LIMITS;
  if (names.length > most) {
    log.error(
      { folder: folder.path, files: names.length },
      `the folder has more than ${most} agents; the rest was not loaded`,
    );
  }
  return names.slice(0, most);
}

async function readProfiles(
  folder: AgentFolder,
  names: readonly string[],
  log: FolderLog,
): Promise<readonly Profile[]> {
  const profiles: Profile[] = [];
  for (const name of names) {
    const file = path.join(folder.path, name);
    const profile = await readProfile(file).catch((error: unknown) => {
      complain(log, file, faultsOf(error));
    });
    if (!profile) continue;
    const other = profiles.find(({ id }) => id === profile.id);
    if (other)
      complain(log, file, [{ path: "", message: `${path.basename(other.file)} is agent ${other.id} already` }]);
    else profiles.push(profile);
  }
  return profiles;
}

async function readProfile(file: string): Promise<Profile> {
  const stats = await stat(file);
  // A pipe would hold up the start for ever, and a device never ends.
  if (!stats.isFile()) throw new AgentFileError("expected a plain file");
  const { size } = stats;
  if (size > LIMITS.agentFileBytesMax) {
    throw new AgentFileError(`expected at most ${LIMITS.agentFileBytesMax} bytes; found ${size}`);
  }
  const { id, profile } = readAgentFile(path.basename(file), await readFile(file));
  const written = parseFrom(PutAgent, profile, "body");
  return { id, file, agent: toAgent(written), at: agentPointers(written, "") };
}

interface Around {
  readonly profile: Profile;
  /** Agents of the same folder may name each other, in any order. */
  readonly ids: ReadonlySet<AgentId>;
  readonly workers: readonly WorkerAnnouncement[];
}

async function isSound(database: Database, { profile, ids, workers }: Around, log: FolderLog): Promise<boolean> {
  const isKnown = async (id: AgentId, version: number | undefined): Promise<boolean> => {
    if (version !== undefined) return (await findAgentVersion(database.read, { id, version })) !== undefined;
    return ids.has(id) || (await findAgent(database.read, id)) !== undefined;
  };
  const faults = [...(await ownFaults(profile)), ...(await handoffFaults(profile, isKnown))];
  if (faults.length > 0) complain(log, profile.file, faults);
  // Workers start beside the API: that none has a tool yet means nothing.
  const open = await workerFaults(profile, workers);
  if (open.length > 0)
    log.warn({ agent: profile.id, file: profile.file, faults: open }, "an agent names what no running worker has yet");
  return faults.length === 0;
}

function complain(log: FolderLog, file: string, faults: readonly Fault[]): void {
  const words = faults
    .map((fault) => (fault.path === "" ? fault.message : `${fault.path}: ${fault.message}`))
    .join("; ");
  log.error({ file, faults }, `${path.basename(file)} is not loaded: ${words}`);
}

function faultsOf(error: unknown): readonly Fault[] {
  if (error instanceof ProblemError) return error.errors ?? [{ path: "", message: error.message }];
  const message = error instanceof Error ? error.message : String(error);
  return [{ path: "", message }];
}
