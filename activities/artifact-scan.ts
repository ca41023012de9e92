/** Finds the files of an agent's artifact folders that are new or changed, leaving out what `.artifactignore` names. */
import { setImmediate } from "node:timers/promises";
import ignore, { type Ignore } from "ignore";
import type { Agent } from "../contract/agents.ts";
import type { SessionId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Sandbox } from "../sandbox/provider.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { isSkipTold } from "../store/artifact-skips.ts";
import { isKnown, knownFiles, type ScannedFile } from "../store/artifacts.ts";
import { withoutSecrets } from "./secret-choice.ts";
import type { SandboxDeps } from "./session-sandbox.ts";

/** Compared with all rules before anything else of this process goes on. */
const FILES_AT_ONCE = 100;
const IGNORE_FILE = ".artifactignore";

/** Used for a folder that has no `.artifactignore` of its own; a file there replaces all of it. */
const DEFAULT_IGNORE = [
  "node_modules/",
  ".git/",
  ".venv/",
  ".env",
  "env/",
  "venv/",
  "dist/",
  "__pycache__/",
  "__pytest_cache__/",
  ".pytest_cache/",
];

/**
 * Files that are not in the store as they are now, in path order. Empty files, folders and symlinks are none, nor is a file
 * whose name tells a secret.
 */
export async function newArtifacts(
  deps: SandboxDeps,
  sessionId: SessionId,
  place: { readonly sandbox: Sandbox; readonly folders: readonly string[] },
): Promise<readonly ScannedFile[]> {
  return (await scanArtifacts(deps, sessionId, place)).files;
}

export interface ArtifactScan {
  readonly files: readonly ScannedFile[];
  /** Folders with more entries than are looked at. */
  readonly cut: readonly string[];
}

/** The same, and what of the folders was not looked at. */
export async function scanArtifacts(
  deps: SandboxDeps,
  sessionId: SessionId,
  { sandbox, folders }: { readonly sandbox: Sandbox; readonly folders: readonly string[] },
): Promise<ArtifactScan> {
  const decided = new Map<string, Decision>();
  const cut: string[] = [];
  for (const folder of folders) {
    const { decisions, isCut } = await scanFolder(sandbox, folder);
    if (isCut) cut.push(folder);
    // Of two folders that overlap, the first that holds a file decides about it, also when it leaves it out.
    for (const file of decisions) if (!decided.has(file.path)) decided.set(file.path, file);
  }
  if (decided.size === 0) return { files: [], cut };
  const known = await knownFiles(deps.store.database, sessionId);
  const files = [...decided.values()]
    .filter((file) => !file.isIgnored && !isKnown(known, file))
    .filter((file) => withoutSecrets(deps.secrets, file.path) === file.path)
    .map(({ path, bytes, modifiedAt }) => ({ path, bytes, modifiedAt }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files, cut };
}

/** What the folder that holds a file says of it. */
interface Decision extends ScannedFile {
  readonly isIgnored: boolean;
}

/** Whether there is anything to upload, or to tell of what is not looked at. A look, not a promise: the upload looks again. */
export async function hasNewArtifacts(
  deps: SandboxDeps,
  sessionId: SessionId,
  of: { readonly sandbox: Sandbox | undefined; readonly agent: Agent },
): Promise<boolean> {
  const { sandbox, agent } = of;
  if (sandbox === undefined) return false;
  const { files, cut } = await scanArtifacts(deps, sessionId, { sandbox, folders: agent.artifacts });
  if (files.length > 0) return true;
  for (const folder of cut) if (!(await isSkipTold(deps.store.database, sessionId, folder))) return true;
  return false;
}

/** The folders of the session's agent, as it is now. */
export async function artifactFolders(deps: SandboxDeps, sessionId: SessionId): Promise<readonly string[]> {
  const row = await deps.store.database.read
    .selectFrom("sessions")
    .select("agent")
    .where("id", "=", sessionId)
    .executeTakeFirst();
  return row ? (JSON.parse(row.agent) as Agent).artifacts : []; // A row of ours, written from a parsed value.
}

async function scanFolder(
  sandbox: Sandbox,
  folder: string,
): Promise<{ readonly decisions: readonly Decision[]; readonly isCut: boolean }> {
  const nothing = { decisions: [], isCut: false };
  const root = folder.replace(/^(\.\/)+/, "").replace(/\/+$/, "");
  try {
    const info = await sandbox.stat(root === "" ? "." : root);
    if (info?.kind !== "folder") return nothing;
    const depth = LIMITS.artifactDepth;
    const listed = await sandbox.listFiles(root === "" ? "." : root, { depth, max: LIMITS.artifactsPerScan + 1 });
    const isCut = listed.length > LIMITS.artifactsPerScan;
    const entries = listed.slice(0, LIMITS.artifactsPerScan);
    if (!entries.some((entry) => entry.kind === "file")) return { decisions: [], isCut };
    const rules = await ignoreRules(sandbox, root);
    const prefix = root === "" || root === "." ? "" : `${root}/`;
    const files = entries.filter(({ kind, bytes, path }) => kind === "file" && bytes > 0 && path.startsWith(prefix));
    const decisions: Decision[] = [];
    for (const [index, { path, bytes, modifiedAt }] of files.entries()) {
      // Many rules and many files are many comparisons: others have their turn in between.
      if (index % FILES_AT_ONCE === FILES_AT_ONCE - 1) await setImmediate();
      decisions.push({ path, bytes, modifiedAt, isIgnored: isIgnored(rules, path.slice(prefix.length)) });
    }
    return { decisions, isCut };
  } catch (error) {
    if (error instanceof SandboxError && error.kind !== "lost") return nothing; // Not there, or not ours to read: nothing to keep.
    throw error;
  }
}

/** An ignore file is never kept, wherever it lies: below another folder of the agent's it is that one's. */
function isIgnored(rules: Ignore, path: string): boolean {
  return path === IGNORE_FILE || path.endsWith(`/${IGNORE_FILE}`) || rules.ignores(path);
}

async function ignoreRules(sandbox: Sandbox, root: string): Promise<Ignore> {
  const file = root === "" || root === "." ? IGNORE_FILE : `${root}/${IGNORE_FILE}`;
  const info = await sandbox.stat(file).catch(() => undefined);
  if (info?.kind !== "file") return ignore().add(DEFAULT_IGNORE);
  const bytes = await sandbox.readFile(file, { length: LIMITS.ignoreFileBytesMax });
  const lines = new TextDecoder().decode(bytes).split("\n");
  return ignore().add(lines.slice(0, LIMITS.ignoreLinesMax));
}
