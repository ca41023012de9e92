/** The one error of backup and restore: what is wrong with the file or the folder, and what to do about it. */
export class BackupError extends Error {
  override readonly name = "BackupError";
}

/** The short reason of what a file system or SQLite threw. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
