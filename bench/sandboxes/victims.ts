/** The sandboxes of a provider as chaos sees them from outside: which there are, and what one had begun when it was killed. */
import type { SandboxId } from "../../contract/ids.ts";

export interface KilledSandbox {
  readonly id: SandboxId;
  /** Just before it was struck, and when nothing of it was alive any more: milliseconds since 1970. */
  readonly from: number;
  readonly until: number;
  /** The lines of its STARTS_FILE at its death; undefined where that could not be seen. */
  readonly starts: readonly string[] | undefined;
}

export interface SandboxVictims extends AsyncDisposable {
  /** What it is in this run, in words: a real engine, a stand-in. */
  readonly description: string;
  /** Those that are alive, of this run's installation. */
  list(): Promise<readonly SandboxId[]>;
  /** Kills all that runs in it, and the sandbox with its files; undefined when it was gone already. */
  kill(id: SandboxId): Promise<KilledSandbox | undefined>;
  /** Processes that are still there though no sandbox is, in words. */
  strays(): Promise<readonly string[]>;
}

export function linesOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}
