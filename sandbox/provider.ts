/**
 * The sandbox boundary: where a session's commands and files live.
 *
 * A provider is correct when `test/sandbox/conformance.ts` passes against it.
 * That suite, not this comment, is the specification.
 */
import type { Readable } from "node:stream";
import type { CallId, SandboxId } from "../contract/ids.ts";

export interface SandboxProvider {
  readonly name: string;

  /** Opens the sandbox of that id, making it on first use. Calling again, from any process, gives the same one. */
  open(id: SandboxId): Promise<Sandbox>;

  /** The sandbox of that id if it is alive here, without making one. */
  find(id: SandboxId): Promise<Sandbox | undefined>;

  /** Kills everything that runs in it and removes it with its files. Removing a missing one is not an error. */
  remove(id: SandboxId): Promise<void>;
}

/**
 * Paths: relative to the workspace, or absolute inside it. A path that leads out of the workspace, by `..` or through a
 * symlink, throws SandboxError `denied`. Reading (not writing) a command's spool by its `spoolPath` is allowed too.
 */
export interface Sandbox {
  readonly id: SandboxId;
  /** The workspace as its own commands see it. */
  readonly workspace: string;

  /**
   * Starts a command, once for one call id however often and by however many processes this is called.
   * Resolves when the start is recorded; a second call with the same id changes nothing.
   */
  start(command: CommandStart): Promise<void>;

  /**
   * What the command printed from the given byte offsets on, and its end. May be called again at any time, also after a
   * restart of the worker, also long after the end. Aborting the signal ends the reading, not the command.
   */
  follow(callId: CallId, from: SpoolOffsets, signal: AbortSignal): AsyncIterable<CommandEvent>;

  /** Ends the command's whole process group: TERM, then KILL after the grace. Resolves when it is gone. No error if it is not there. */
  kill(callId: CallId): Promise<void>;

  /** Where a command's whole output can be read by `readFile` and by other commands of this sandbox. */
  spoolPath(callId: CallId, stream: "stdout" | "stderr"): string;

  stat(path: string): Promise<FileInfo | undefined>;
  /** Bytes of a file from `offset`, at most `length`. */
  readFile(path: string, range?: { readonly offset?: number; readonly length?: number }): Promise<Uint8Array>;
  /** The whole file as a stream, for uploads of any size. */
  openFile(path: string): Promise<Readable>;
  /** Replaces a file at once (temporary name, then rename); makes its folders; keeps the mode of a file that is there. */
  writeFile(path: string, content: Uint8Array): Promise<void>;
  /** Entries below a folder, depth-first, sorted by name; symlinks are named, never followed. */
  listFiles(path: string, options: { readonly depth: number; readonly max: number }): Promise<readonly FileEntry[]>;
}

export interface CommandStart {
  readonly callId: CallId;
  /** Run by `sh -c` (bash when the sandbox has it). */
  readonly command: string;
  /** Relative to the workspace; default its root. */
  readonly cwd?: string;
  readonly timeoutMs: number;
  /** Over the sandbox's own variables, but for those by which a provider keeps hold of its commands (`local`: TMPDIR). */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface SpoolOffsets {
  readonly stdout: number;
  readonly stderr: number;
}

export type CommandEvent =
  | {
      readonly type: "output";
      readonly stream: "stdout" | "stderr";
      readonly bytes: Uint8Array;
      readonly offset: number;
    }
  | { readonly type: "ended"; readonly end: CommandEnd; readonly printed: SpoolOffsets };

export type CommandEnd =
  | { readonly ended: "exited"; readonly exitCode: number; readonly durationMs: number }
  | { readonly ended: "signalled"; readonly signal: string; readonly durationMs: number }
  | { readonly ended: "timed_out"; readonly durationMs: number }
  /** It was ended by `kill`. */
  | { readonly ended: "killed"; readonly durationMs: number }
  /** It was started, its process is gone, and it left no exit record: what it did is unknown. */
  | { readonly ended: "unknown" };

export interface FileInfo {
  readonly kind: "file" | "folder" | "symlink" | "other";
  readonly bytes: number;
  readonly modifiedAt: number;
}
export interface FileEntry extends FileInfo {
  /** Relative to the workspace, with `/`. */
  readonly path: string;
}

/** lost: the sandbox is gone. denied: a path leads out. not_found, is_folder, too_large, failed: as they say, in words. */
export class SandboxError extends Error {
  override readonly name = "SandboxError";
  readonly kind: "lost" | "not_found" | "denied" | "is_folder" | "too_large" | "failed";

  constructor(kind: SandboxError["kind"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
