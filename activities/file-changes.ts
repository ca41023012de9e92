/** Tells which files of a workspace have changed since somebody last looked: after each call and each command. */
import { log } from "@temporalio/activity";
import type { Fact } from "../contract/events.ts";
import type { CallId, SessionId, TurnId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { Database } from "../store/database.ts";
import type { Store } from "../store/store.ts";
import { recordChanges, type SeenFile, type SeenWorkspace, seenWorkspace } from "../store/workspace-files.ts";
import { type WorkerSecrets, withoutSecrets } from "./secret-choice.ts";

export interface FileChangesDeps {
  /** Default: none. */
  readonly secrets?: WorkerSecrets;
  readonly store: Pick<Store, "database">;
  /** Says once of a session that its files are not watched. Default: the activity's log. */
  readonly note?: (message: string) => void;
}

export interface WatchedWorkspace {
  readonly sessionId: SessionId;
  readonly sandbox: Pick<Sandbox, "scan">;
}

/** Folders of many files that nobody wants to hear of one by one. */
const UNWATCHED_FOLDERS = new Set([
  ...[".git", ".hg", ".svn", "node_modules", ".venv", "venv", "__pycache__", ".tox", ".gradle", ".cargo"],
  ...[".cache", ".npm", ".yarn", ".pnpm-store", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".next", ".nuxt"],
]);

/** Who has lost twice to others knows: the second looked after the change was made. */
const TRIES = 3;

/** What each session's rows say, so that a look that finds nothing new reads none of them. Losing it costs a query. */
const REMEMBERED = new WeakMap<Database, Map<SessionId, SeenWorkspace>>();

/**
 * Appends `file.changed` for what is created, modified or deleted, however many look at once: each change is told once. At most
 * LIMITS.fileChangesMax; the last says how many more there are. Throws SandboxError `lost`.
 */
export async function publishFileChanges(
  deps: FileChangesDeps,
  work: WatchedWorkspace & { readonly turnId?: TurnId | undefined; readonly callId?: CallId | undefined },
): Promise<void> {
  const { database } = deps.store;
  const { sessionId, sandbox } = work;
  for (let tries = 0; tries < TRIES; tries++) {
    // Before the scan: if the rows are still these afterwards, nobody has told what this scan has found.
    const seen = remembered(database).get(sessionId) ?? (await seenWorkspace(database, sessionId));
    const found = await look(deps, sandbox);
    if (found === undefined) return await leaveUnwatched(deps, sessionId, seen);
    const changes = seen.isUnwatched ? [] : changesOf(seen.files, found);
    if (changes.length === 0 && !seen.isUnwatched) return remember(database, sessionId, seen);
    const token = await recordChanges(database, sessionId, {
      since: seen.token,
      isUnwatched: false,
      written: seen.isUnwatched ? found : only(found, changes),
      deleted: changes.filter(({ change }) => change === "deleted").map(({ path }) => path),
      facts: factsOf(changes, work),
    });
    if (token !== undefined) return remember(database, sessionId, { token, isUnwatched: false, files: found });
    remembered(database).delete(sessionId);
  }
}

/** Takes the workspace as it is for known, and tells nothing: what we have laid into it ourselves is no news. */
export async function adoptFiles(deps: FileChangesDeps, { sessionId, sandbox }: WatchedWorkspace): Promise<void> {
  const { database } = deps.store;
  const found = await look(deps, sandbox);
  const isUnwatched = found === undefined;
  const files = found ?? new Map<string, SeenFile>();
  const token = await recordChanges(database, sessionId, {
    since: undefined,
    isUnwatched,
    written: files,
    deleted: [],
    facts: [],
  });
  if (token !== undefined) remember(database, sessionId, { token, isUnwatched, files });
  if (isUnwatched) note(deps, sessionId);
}

/** Undefined: there are more than are watched. */
async function look(
  deps: FileChangesDeps,
  sandbox: Pick<Sandbox, "scan">,
): Promise<ReadonlyMap<string, SeenFile> | undefined> {
  try {
    // A name that tells a secret is in no row and no event.
    const tellsSecret = (path: string): boolean => withoutSecrets(deps.secrets, path) !== path;
    const skip = (path: string): boolean => isUnwatchedFolder(path) || tellsSecret(path);
    const entries = await sandbox.scan({ skip, max: LIMITS.filesWatchedMax });
    const files = entries.filter(({ kind }) => kind !== "folder");
    return new Map(files.map(({ path, bytes, version }) => [path, { bytes, version }]));
  } catch (error) {
    if (error instanceof SandboxError && error.kind === "too_large") return undefined;
    throw error;
  }
}

function isUnwatchedFolder(path: string): boolean {
  return path.endsWith("/") && UNWATCHED_FOLDERS.has(path.slice(path.lastIndexOf("/", path.length - 2) + 1, -1));
}

interface Change {
  readonly path: string;
  readonly change: "created" | "modified" | "deleted";
  readonly bytes?: number;
}

function changesOf(before: ReadonlyMap<string, SeenFile>, now: ReadonlyMap<string, SeenFile>): readonly Change[] {
  const changes: Change[] = [];
  for (const [path, { bytes, version }] of now) {
    const old = before.get(path);
    if (old === undefined) changes.push({ path, change: "created", bytes });
    else if (old.version !== version || old.bytes !== bytes) changes.push({ path, change: "modified", bytes });
  }
  for (const path of before.keys()) if (!now.has(path)) changes.push({ path, change: "deleted" });
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function only(found: ReadonlyMap<string, SeenFile>, changes: readonly Change[]): ReadonlyMap<string, SeenFile> {
  return new Map(
    changes.flatMap(({ path }) => {
      const file = found.get(path);
      return file ? [[path, file] as const] : [];
    }),
  );
}

function factsOf(
  changes: readonly Change[],
  { turnId, callId }: { readonly turnId?: TurnId | undefined; readonly callId?: CallId | undefined },
): readonly Fact[] {
  const of = { ...(turnId !== undefined && { turnId }), ...(callId !== undefined && { callId }) };
  const told = changes.slice(0, LIMITS.fileChangesMax);
  const more = changes.length - told.length;
  return told.map((change, index) => {
    const isLast = index === told.length - 1;
    return { type: "file.changed" as const, ...change, ...of, ...(isLast && more > 0 && { more }) };
  });
}

/** From here on nothing is told, until the files are few again; then what is there is no news. */
async function leaveUnwatched(deps: FileChangesDeps, sessionId: SessionId, seen: SeenWorkspace): Promise<void> {
  const { database } = deps.store;
  if (seen.isUnwatched) return remember(database, sessionId, seen);
  const unwatched = { isUnwatched: true, written: new Map<string, SeenFile>(), facts: [] };
  const deleted = [...seen.files.keys()];
  const token = await recordChanges(database, sessionId, { since: seen.token, deleted, ...unwatched });
  remembered(database).delete(sessionId);
  if (token !== undefined) note(deps, sessionId);
}

function note(deps: FileChangesDeps, sessionId: SessionId): void {
  const message = `the workspace of session ${sessionId} has more than ${LIMITS.filesWatchedMax} files; their changes are not told`;
  if (deps.note) deps.note(message);
  else log.info(message);
}

function remembered(database: Database): Map<SessionId, SeenWorkspace> {
  const sessions = REMEMBERED.get(database) ?? new Map<SessionId, SeenWorkspace>();
  REMEMBERED.set(database, sessions);
  return sessions;
}

/** The sessions that were looked at last. */
function remember(database: Database, sessionId: SessionId, seen: SeenWorkspace): void {
  const sessions = remembered(database);
  sessions.delete(sessionId);
  sessions.set(sessionId, seen);
  const [oldest] = sessions.keys();
  if (sessions.size > LIMITS.filesWatchedSessions && oldest !== undefined) sessions.delete(oldest);
}
