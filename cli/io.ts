/** What a command reads from and writes to: the process's own, or a test's. */
import type { ProgressOutput } from "./progress.ts";
import type { SpinnerOutput } from "./spinner.ts";

export interface Io {
  readonly stdout: SpinnerOutput;
  readonly stderr: SpinnerOutput & ProgressOutput;
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly env: NodeJS.ProcessEnv;
}
