/** The table of backends. To add one: a folder here and a line below. Importing this loads no SDK. */
import type { BackendEntry } from "./backend.ts";
import { copilot } from "./copilot/entry.ts";
import { openai } from "./openai/entry.ts";

export const BACKENDS: readonly BackendEntry[] = [openai, copilot];

export function findBackend(name: string): BackendEntry | undefined {
  return BACKENDS.find((backend) => backend.name === name);
}
