/** Times that an archive can tell: a file may say that it was changed before 1970, or in a thousand years. */

const LATEST_MS = { tar: 0o77777777777 * 1_000, zip: 0xffffffff * 1_000 };

/** The nearest one. What is written of another is read as something else, or ends the process that writes it (yazl 3). */
export function archiveTime(format: "tar" | "zip", time: Date): Date {
  const wanted = time.getTime();
  return new Date(Number.isNaN(wanted) ? 0 : Math.min(Math.max(0, wanted), LATEST_MS[format]));
}
