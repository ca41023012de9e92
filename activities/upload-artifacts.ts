/** Uploads what is new in the artifact folders: bytes to the blob store, then row and event in one transaction. */

import path from "node:path";
import { ApplicationFailure, Context } from "@temporalio/activity";
import { contentType } from "mime-types";
import type { TurnKey } from "../contract/steps.ts";
import type { Sandbox } from "../sandbox/provider.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { tellSkip } from "../store/artifact-skips.ts";
import { recordArtifact, type ScannedFile } from "../store/artifacts.ts";
import { StoreError } from "../store/error.ts";
import { append } from "../store/event-log.ts";
import { artifactFolders, scanArtifacts } from "./artifact-scan.ts";
import { attempted } from "./attempt.ts";
import type { RunToolDeps } from "./run-tool.ts";
import { findSandbox } from "./session-sandbox.ts";

/** Tries of an upload that the store refuses; then the log says what was not kept, and the turn goes on. */
const ATTEMPTS_MAX = 4;

export interface UploadResult {
  readonly uploaded: number;
  readonly failed: number;
}
export type UploadArtifacts = (turn: TurnKey) => Promise<UploadResult>;

export function createUploadArtifacts(deps: RunToolDeps): UploadArtifacts {
  return (turn) =>
    attempted(deps, async ({ signal }) => {
      await using sandbox = await findSandbox(deps, turn.sessionId);
      if (!sandbox) return { uploaded: 0, failed: 0 };
      let uploaded = 0;
      let failed = 0;
      let lastError: StoreError | undefined;
      const folders = await artifactFolders(deps, turn.sessionId);
      const { files, cut } = await scanArtifacts(deps, turn.sessionId, { sandbox, folders });
      for (const folder of cut) await tellSkip(deps.store.database, turn, folder);
      for (const file of files) {
        try {
          if (await upload(deps, turn, { sandbox, file, signal })) uploaded++;
        } catch (error) {
          // A file that went away or cannot be read is not an artifact; the next scan sees it if it comes back.
          if (error instanceof SandboxError && error.kind !== "lost") continue;
          if (!(error instanceof StoreError)) throw error;
          failed++;
          lastError = error;
        }
      }
      if (lastError) await giveUp(deps, turn, { error: lastError, failed });
      return { uploaded, failed };
    });
}

async function upload(
  deps: RunToolDeps,
  turn: TurnKey,
  source: { readonly sandbox: Sandbox; readonly file: ScannedFile; readonly signal: AbortSignal },
): Promise<boolean> {
  const { sandbox, file, signal } = source;
  const type = contentType(path.posix.basename(file.path)) || "application/octet-stream";
  for (let tries = 0; ; tries++) {
    const blob = await deps.store.blobs.put(await sandbox.openFile(file.path), signal);
    // What was read may be newer than what was scanned: then the scan's time is stale, and the next scan looks again.
    const isNew = await recordArtifact(deps.store.database, turn, { scanned: file, ...blob, contentType: type });
    // The same bytes of a session that was purged in between: its purge has removed the file before our row named it.
    if (tries > 0 || (await deps.store.blobs.has(blob.sha256))) return isNew;
  }
}

async function giveUp(
  deps: RunToolDeps,
  turn: TurnKey,
  outcome: { readonly error: StoreError; readonly failed: number },
): Promise<void> {
  if (Context.current().info.attempt < ATTEMPTS_MAX) {
    throw ApplicationFailure.create({ type: "Store.upload", message: outcome.error.message, nextRetryDelay: 1_000 });
  }
  const message = `${outcome.failed} file(s) could not be kept as artifacts: ${outcome.error.message}`;
  await deps.store.database.write((tx) =>
    append(tx, turn.sessionId, [
      { type: "error", turnId: turn.turnId, code: "STORAGE_IO_ERROR", message, retryable: true },
    ]),
  );
}
