/**
 * `node scripts/rerun-failed.mjs <report>`, after a test run that failed: runs the files whose tests failed once more, each in a
 * process of its own, and puts what they then say into the report. On a strange machine a real engine or a kill may meet a moment
 * that no deadline foresaw; what fails twice, or in many files, is a fault. It names what it ran, so that each can be found.
 *
 * Exits with 0 when all of them passed now.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

const FILES_MAX = 5;

const [reportFile] = process.argv.slice(2);
const report = read(reportFile);
const failed = report?.testResults.filter(({ status }) => status === "failed") ?? [];
if (failed.length === 0 || failed.length > FILES_MAX) process.exit(1);

for (const { name, assertionResults } of failed) {
  process.stdout.write(`\nfailed, and run once more: ${path.relative(process.cwd(), name)}\n`);
  for (const { fullName, status } of assertionResults) if (status === "failed") process.stdout.write(`  ${fullName}\n`);
}
const secondFile = `${reportFile}.second`;
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${secondFile}`];
const files = failed.map(({ name }) => path.relative(process.cwd(), name));
const { status } = spawnSync("npm", ["test", "--", ...files, ...reporters], { stdio: "inherit" });
const second = read(secondFile);
rmSync(secondFile, { force: true });
if (!second) process.exit(1);

const again = new Map(second.testResults.map((result) => [result.name, result]));
const results = report.testResults.map((result) => again.get(result.name) ?? result);
const count = (...kinds) =>
  results.flatMap(({ assertionResults }) => assertionResults).filter((one) => kinds.includes(one.status)).length;
const counts = {
  numPassedTests: count("passed"),
  numFailedTests: count("failed"),
  numPendingTests: count("pending", "skipped"),
  numTodoTests: count("todo"),
};
writeFileSync(reportFile, JSON.stringify({ ...report, ...counts, testResults: results }));
process.exitCode = status === 0 ? 0 : 1;

function read(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
