/** Prints the last line of `.ci/run`: how many checks and tests passed, failed and were skipped. Exits with 1 when any failed. */
import { readFileSync } from "node:fs";

const [reportFile, checkStatus, testStatus] = process.argv.slice(2);
const report = readReport(reportFile);

// The check counts as one; so does a test run that failed beside its tests, such as a file that cannot be loaded.
const passed = (report?.numPassedTests ?? 0) + (checkStatus === "0" ? 1 : 0);
let failed = (report?.numFailedTests ?? 0) + (checkStatus === "0" ? 0 : 1);
const skipped = (report?.numPendingTests ?? 0) + (report?.numTodoTests ?? 0);
if ((testStatus !== "0" || !report) && (report?.numFailedTests ?? 0) === 0) failed += 1;

process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`);
process.exitCode = failed > 0 ? 1 : 0;

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined; // The run ended before it could write one: counted as a failure above.
  }
}
