/**
 * A file that the provider's wire does not take. In the newest message the turn fails for it, in words; in an older one
 * those words were said, or another backend has shown it: the conversation goes on, and the model is told what is missing.
 */
import type { FileBlock } from "../contract/blocks.ts";
import { BackendError } from "./backend.ts";

/** The text in the file's place, unless it is new. */
export function unshownFile({ filename }: FileBlock, file: { readonly isNew: boolean; readonly why: string }): string {
  if (file.isNew) throw new BackendError("INVALID_INPUT", `the file ${filename} ${file.why}`);
  return `[The file ${JSON.stringify(filename)} was sent here, and cannot be shown to you.]`;
}
