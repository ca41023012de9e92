/** A look into a live workspace, or a write to it, as the API asks for it and a worker answers. Bytes go by way of `blobs`. */
import type { SessionId } from "./ids.ts";

export interface WorkspaceRequest {
  readonly sessionId: SessionId;
  readonly operation: "list" | "read" | "write";
  readonly path: string;
  /** Of `write`: the blob that holds the content. */
  readonly sha256?: string;
}

export type WorkspaceAnswer =
  /** A listing: a blob that holds `FileList` as JSON. A file: its bytes. */
  | { readonly found: "folder" | "file"; readonly sha256: string; readonly bytes: number }
  | { readonly found: "written"; readonly bytes: number }
  | { readonly found: "nothing"; readonly code: "NOT_FOUND" | "INVALID_INPUT" | "CONFLICT"; readonly message: string };
