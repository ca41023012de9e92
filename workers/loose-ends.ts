/**
 * What fails with nobody to catch it. A tool of one's own that leaves such work behind does not take along every session
 * of its worker: its fault is told with its name. Any other is ours, and ends the process, in words: what it left is handed
 * back by the next one.
 */
import { EXIT_CONFIG } from "../contract/config.ts";
import type { PluginWork } from "../tools/plugin-work.ts";

export interface LooseEnds {
  readonly work: PluginWork;
  log(level: "error" | "fatal", fields: Readonly<Record<string, unknown>>, message: string): void;
  redact(text: string): string;
}

const STACK_CHARACTERS = 4_000;

export function watchLooseEnds({ work, log, redact }: LooseEnds): void {
  const onFault = (error: unknown): void => {
    const { place } = work;
    const words = error instanceof Error ? String(error.stack) : String(error);
    const stack = redact(words.slice(0, STACK_CHARACTERS * 2)).slice(0, STACK_CHARACTERS);
    if (place !== undefined) {
      log("error", { ...place, stack }, "a tool failed outside of its call, where nobody waits for it");
      return;
    }
    log("fatal", { stack }, "a fault that nobody has caught; this worker ends");
    process.exit(1);
  };
  process.on("exit", (code) => {
    const { place } = work;
    if (place === undefined) return;
    // To load such a module again would not help; a call that has no result is the replay rule's matter.
    process.exitCode = "module" in place ? EXIT_CONFIG : code || 1;
    log("fatal", { ...place, code }, "a tool of one's own has ended this worker: it called process.exit");
  });
  process.on("uncaughtException", onFault);
  process.on("unhandledRejection", onFault);
}
