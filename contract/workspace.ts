/**
 * A look into a live workspace, or a write to it, as the API asks for it and a worker answers. Bytes, and whatever may hold
 * a secret or be long, go by way of the store's transit, under its ids: what is here ends up in Temporal's history.
 */
import type { ProblemCode } from "./errors.ts";
import type { CallId, SessionId } from "./ids.ts";

export type WorkspaceRequest = { readonly sessionId: SessionId; readonly path: string; readonly ticket?: string } & (
  | { readonly operation: "read"; readonly depth: number }
  | { readonly operation: "archive"; readonly format: "zip" | "tar" }
  /** `transit` holds the content. `create`: only where nothing is yet. `match`: only over a file with that SHA-256, or any (`*`). */
  | {
      readonly operation: "write";
      readonly transit: string;
      readonly create: boolean;
      readonly match?: string;
    }
  | { readonly operation: "remove"; readonly recursive: boolean }
  /** `transit` holds a DownloadOrder as JSON. */
  | { readonly operation: "download"; readonly transit: string }
);

/** Whether it may take long, for what it moves: it has slots of its own then. */
export function movesMuch(operation: WorkspaceRequest["operation"]): boolean {
  return operation === "download" || operation === "archive" || operation === "write";
}

/** Of a download, what is not for everybody's eyes: an address may hold a key. */
export interface DownloadOrder {
  readonly url: string;
  readonly sha256?: string;
  readonly extract: boolean;
  readonly timeoutMs: number;
}

export type WorkspaceProblem = Extract<
  ProblemCode,
  | "NOT_FOUND"
  | "INVALID_INPUT"
  | "FORBIDDEN"
  | "CONFLICT"
  | "PRECONDITION_FAILED"
  | "PAYLOAD_TOO_LARGE"
  | "ARCHIVE_REFUSED"
  | "DOWNLOAD_FAILED"
>;

export type WorkspaceAnswer =
  /** A folder: `FileList` as JSON is in transit. A file, an archive: its bytes are. */
  | {
      readonly found: "folder" | "file" | "archive";
      readonly transit: string;
      readonly sha256: string;
      readonly bytes: number;
    }
  | { readonly found: "written" }
  | { readonly found: "removed" }
  | { readonly found: "downloaded"; readonly bytes: number; readonly sha256: string; readonly files?: number }
  | { readonly found: "nothing"; readonly code: WorkspaceProblem; readonly message: string };

/** Names one command of a caller. `stop`: it is ended instead of begun. */
export interface CommandKey {
  readonly sessionId: SessionId;
  readonly callId: CallId;
  /** Proves to the activities that this stack has asked for it. */
  readonly ticket?: string;
  readonly stop?: boolean;
}
