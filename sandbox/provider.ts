/**
 * The sandbox boundary: where a session's commands and files live.
 *
 * A provider is correct when `test/sandbox/conformance.ts` passes against it.
 * That suite, not this comment, is the specification.
 */
import type { Readable } from "node:stream";
import type { CallId, SandboxId } from "../contract/ids.ts";
import type { SandboxCapabilities, SandboxProviderName, SandboxSpec } from "../contract/sandbox.ts";

export interface SandboxProvider {
  readonly name: SandboxProviderName;
  readonly capabilities: SandboxCapabilities;

  /**
   * Opens the sandbox of that id, making it on first use. Calling again, from any process, gives the same one, and the spec
   * of whoever made it stands. Throws SandboxError `failed` when it cannot be made (no such image, no engine, a refused key).
   */
  open(id: SandboxId, spec?: SandboxSpec, from?: OpenFrom): Promise<Sandbox>;

  /** The sandbox of that id if it is alive here, without making one. */
  find(id: SandboxId): Promise<Sandbox | undefined>;

  /** Kills everything that runs in it and removes it with its files. Removing a missing one is not an error. */
  remove(id: SandboxId): Promise<void>;

  /** Those that this installation has made and that are still there, for the sweeper. */
  list(): Promise<readonly ListedSandbox[]>;

  /**
   * Removes what killed workers and busy programs have left beside the workspaces, and old calls beyond the bound whose result
   * is committed. For the sweeper.
   */
  tidy?(isCommitted: (callId: CallId) => Promise<boolean | undefined>): Promise<void>;
}

export interface OpenFrom {
  /** What `snapshotImage` of this provider gave: the new sandbox begins as that one was. */
  readonly image: string;
}

export interface ListedSandbox {
  readonly id: SandboxId;
  /** Milliseconds since 1970; undefined when the provider cannot tell. */
  readonly madeAt: number | undefined;
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
  /**
   * Replaces a file at once (temporary name, then rename); makes its folders; keeps the mode of a file that is there. From a
   * stream in constant memory; a stream that fails leaves what was there. The stream is closed whatever comes of it.
   */
  writeFile(path: string, content: Uint8Array | Readable): Promise<void>;
  /** Removes a file, a symlink (not what it names), or a folder with all that is in it. false: nothing was there. The workspace itself is `denied`. */
  removeFile(path: string): Promise<boolean>;
  /** Entries below a folder, depth-first, sorted by name; symlinks are named, never followed. */
  listFiles(path: string, options: { readonly depth: number; readonly max: number }): Promise<readonly FileEntry[]>;

  /**
   * Every file, folder and symlink of the workspace with what a snapshot keeps of it, folders before what is in them. `skip`
   * is asked for each path (a folder's ends with `/`); what it skips is not looked into. Throws `too_large` beyond `max`.
   */
  scan(options: { readonly skip: (path: string) => boolean; readonly max: number }): Promise<readonly ScannedEntry[]>;
  /** A tar of these files and symlinks of the workspace, in this order; one that is gone meanwhile is left out. */
  pack(paths: readonly string[]): Promise<Readable>;
  /**
   * Lays a tar of ours (folders, files, symlinks; relative paths without `..`) into the workspace, with modes; what is there
   * under the same path is replaced. An entry that would leave the workspace is `denied`, and what cannot be laid is `failed`.
   * The stream is closed whatever comes of it.
   */
  unpack(tar: Readable): Promise<void>;

  /** What its commands wanted to reach since the given offset (0 at first), oldest first, and the offset to go on from. */
  networkDecisions(from: number): Promise<{ readonly decisions: readonly NetworkDecision[]; readonly next: number }>;

  /** Keeps the whole sandbox, beyond its workspace, under a name of the provider's own. Only where capabilities say `provider`. */
  snapshotImage?(): Promise<string>;
  /** The addresses under which the spec's ports are reached from outside, by port. */
  tunnels?(): Promise<Readonly<Record<number, string>>>;

  /** An interactive shell. Only where the provider's capabilities say `terminal`. */
  openTerminal?(options: TerminalOptions): Promise<Terminal>;
  /** Ends what a killed worker has left of the terminal of that mark. Only where that does not end with its worker. */
  endTerminal?(mark: string): Promise<void>;

  /** Gives back what this handle holds (connections); the sandbox and what runs in it go on. The handle is of no use afterwards. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ScannedEntry {
  /** Relative to the workspace, with `/`. */
  readonly path: string;
  readonly kind: "file" | "folder" | "symlink";
  /** Of a file; 0 otherwise. */
  readonly bytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** Milliseconds since 1970, as finely as the system tells. */
  readonly modifiedAt: number;
  /** Whatever changes when the file is replaced or written (inode and ctime, say); compared only for equality. */
  readonly version: string;
  /** Of a symlink: where it points, as it is written in it. */
  readonly target?: string;
}

export interface NetworkDecision {
  readonly host: string;
  readonly port: number;
  readonly decision: "allow" | "deny";
  readonly reason: string;
}

export interface TerminalOptions {
  /** Names it for `endTerminal`: letters, digits, _ and -. Default: at random. */
  readonly mark?: string;
  readonly columns: number;
  readonly rows: number;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Terminal {
  /** What it prints, as it comes; ends with the shell. */
  readonly output: AsyncIterable<Uint8Array>;
  write(input: Uint8Array): void;
  resize(columns: number, rows: number): void;
  /** Ends the shell and what it has started. */
  close(): Promise<void>;
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
  /**
   * Variables whose values nobody else may see: over `environment`, never an argument of a process nor in a file, by the block
   * of variables of the command's own processes or by standard input only.
   */
  readonly secrets?: Readonly<Record<string, string>>;
  /** What it reads from its standard input, at most LIMITS.commandInputBytesMax; default: nothing. */
  readonly input?: Uint8Array;
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
