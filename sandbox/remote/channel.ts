/**
 * The one thing that a sandbox on the far side of a connection must offer: to run a program in it and to talk with it.
 * Everything else (`createRemoteSandbox`) is done by POSIX sh inside it.
 */

export interface ExecChannel {
  /**
   * Runs a program in the sandbox, without a terminal, as the sandbox's own user. Resolves when it runs. Aborting the signal
   * does what `kill` does, and rejects an exec that is still on its way.
   *
   * Throws SandboxError: `lost` when the sandbox is gone or not running, `failed` in words for everything else. Must be
   * bounded in time: an engine that does not answer is a `failed` too.
   */
  exec(argv: readonly string[], options?: ExecOptions): Promise<RemoteProcess>;
}

export interface ExecOptions {
  /** Whether it gets a standard input that is written to; default: nothing to read. */
  readonly stdin?: boolean;
  readonly signal?: AbortSignal;
}

export interface RemoteProcess {
  /** What it prints, as it comes, with back-pressure: who does not read holds it up. Each may be read once. Ends with it. */
  readonly stdout: AsyncIterable<Uint8Array>;
  /** Nobody needs to read it: what is not read is dropped, or held within a bound. */
  readonly stderr: AsyncIterable<Uint8Array>;

  /** Resolves when more may be written. Rejects when the connection is gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Closes its standard input. */
  end(): Promise<void>;

  /** Its exit code; rejects (SandboxError) when it can no longer be known. Nobody needs to look at it. */
  readonly exit: Promise<number>;

  /** Drops the connection. What runs inside may go on; nothing is waited for. Doing it twice is not an error. */
  kill(): void;
}
