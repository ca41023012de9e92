/**
 * Variables that hold secrets come by a pipe and not by the environment of the process: what a process is started with can be
 * read in /proc/<pid>/environ by every program of the same user for as long as it lives, whatever it deletes later.
 */
import { closeSync, readFileSync } from "node:fs";
import { HANDED_VARIABLES } from "../contract/config.ts";

/** Adds what was handed over to the environment, where only this process sees it. Nothing was: whoever started it is no supervisor. */
export function takeHandedVariables(environment: Record<string, string | undefined>): void {
  const descriptor = Number(environment[HANDED_VARIABLES]);
  delete environment[HANDED_VARIABLES];
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  try {
    const text = readFileSync(descriptor, "utf8");
    // Empty: the supervisor was killed while it wrote, and this process ends with it.
    if (text !== "") Object.assign(environment, JSON.parse(text) as Readonly<Record<string, string>>);
  } finally {
    closeSync(descriptor);
  }
}
