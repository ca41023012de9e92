/**
 * Prints which conformance cases each sandbox provider passed, failed and skipped: `node scripts/sandbox-table.mjs <report>`, with
 * the JSON report of a test run. With `--cases`, one row per case. Reads; never fails a run.
 */
import { readFileSync } from "node:fs";

const [reportFile, flag] = process.argv.slice(2);
const PROVIDER = /^(sandbox provider|hostile programs in) (.+)$/;
const MARKS = { passed: "pass", failed: "FAIL", pending: "skip", skipped: "skip", todo: "skip" };

/** Provider → case → outcome; hostile programs are a suite of their own. */
const suites = new Map();
for (const file of readReport(reportFile)?.testResults ?? []) {
  for (const { ancestorTitles, title, status } of file.assertionResults) {
    const at = ancestorTitles.findIndex((one) => PROVIDER.test(one));
    if (at < 0) continue;
    const suite = ancestorTitles[at].replace(/^sandbox provider /, "");
    const name = [...ancestorTitles.slice(at + 1), title].join(": ");
    if (!suites.has(suite)) suites.set(suite, new Map());
    suites.get(suite).set(name, MARKS[status] ?? status);
  }
}

if (suites.size > 0) process.stdout.write(flag === "--cases" ? byCase() : byProvider());

function byProvider() {
  const rows = [...suites].map(([suite, cases]) => {
    const count = (mark) => String([...cases.values()].filter((one) => one === mark).length);
    return [suite, String(cases.size), count("pass"), count("FAIL"), count("skip")];
  });
  return table([["sandbox provider", "cases", "pass", "FAIL", "skip"], ...rows]);
}

function byCase() {
  const names = [...new Set([...suites.values()].flatMap((cases) => [...cases.keys()]))];
  const rows = names.map((name) => [
    name.slice(0, 110),
    ...[...suites.values()].map((cases) => cases.get(name) ?? "-"),
  ]);
  return table([["case", ...suites.keys()], ...rows]);
}

function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return `${rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n")}\n`;
}

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined; // What has gone wrong is told by whoever ran the tests.
  }
}
