/** Writes a file of a workspace for the API, if what it should be before still holds: one write of a path after the other. */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { Context } from "@temporalio/activity";
import type { WorkspaceAnswer, WorkspaceRequest } from "../contract/workspace.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { Transit } from "../store/transit.ts";

type Write = Extract<WorkspaceRequest, { operation: "write" }>;

/** Writes that are under way, by session and path. Of two that ask for a new file, the second must see the first one's. */
const underWay = new Map<string, Promise<unknown>>();

export async function writeInTurn(transit: Transit, sandbox: Sandbox, work: Write): Promise<WorkspaceAnswer> {
  const place = `${work.sessionId}/${work.path}`;
  const before = underWay.get(place);
  const mine = (async () => {
    await before?.catch(() => undefined); // Its own caller hears of it.
    return await write(transit, sandbox, work);
  })();
  underWay.set(place, mine);
  try {
    return await mine;
  } finally {
    if (underWay.get(place) === mine) underWay.delete(place);
  }
}

async function write(transit: Transit, sandbox: Sandbox, work: Write): Promise<WorkspaceAnswer> {
  const fault = await conditionFault(sandbox, work);
  if (fault !== undefined && !(await isRepeated(transit, sandbox, work))) {
    return { found: "nothing", code: "PRECONDITION_FAILED", message: fault };
  }
  await layFile(sandbox, work.path, await transit.open(work.transit));
  return { found: "written" };
}

/** What is to be written need not be there: when something is missing, something else is in its way. */
export async function layFile(sandbox: Sandbox, path: string, content: Readable): Promise<void> {
  try {
    await sandbox.writeFile(path, content);
  } catch (cause) {
    if (!(cause instanceof SandboxError && cause.kind === "not_found")) throw cause;
    throw new SandboxError("failed", cause.message, { cause });
  }
}

async function conditionFault(sandbox: Sandbox, { path, create, match }: Write): Promise<string | undefined> {
  if (!create && match === undefined) return undefined;
  const isThere = (await sandbox.stat(path)) !== undefined;
  if (create && isThere) return `${path} is there already, and If-None-Match: * asks for a new file`;
  if (match === undefined) return undefined;
  if (!isThere) return `there is no ${path}, and If-Match asks for one`;
  if (match === "*" || (await digestOf(await sandbox.openFile(path))) === match) return undefined;
  return `${path} is not what If-Match names: it has been changed`;
}

/** An attempt before this one may have written it, and been lost with its answer. */
async function isRepeated(transit: Transit, sandbox: Sandbox, work: Write): Promise<boolean> {
  if (Context.current().info.attempt === 1 || (await sandbox.stat(work.path)) === undefined) return false;
  return (await digestOf(await sandbox.openFile(work.path))) === (await digestOf(await transit.open(work.transit)));
}

async function digestOf(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of content) hash.update(chunk);
  return hash.digest("hex");
}
