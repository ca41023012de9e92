/**
 * `npm run chaos`: sessions at work while Temporal, the worker and the API are killed at random instants; then the truth.
 * With `--approvals` the proof of approvals instead.
 */
import { parseArgs } from "node:util";
import { proveApprovals } from "./approvals/run.ts";
import { findingsOf, renderApprovals } from "./approvals/table.ts";
import { type ChaosReport, runChaos } from "./chaos/run.ts";

const VIOLATIONS_SHOWN = 50;
const KILLS_EACH = 12;
const USAGE =
  "usage: npm run chaos -- [--minutes 2] [--seed 7] [--sessions 6] [--backend openai]\n" +
  "       npm run chaos -- --approvals [--seed 7] [--sessions 20] [--backend openai]\n" +
  "minutes, seed and sessions are numbers, the backend is openai or copilot\n";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      approvals: { type: "boolean", default: false },
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: "7" },
      sessions: { type: "string" },
      backend: { type: "string", default: "openai" },
    },
  });
  const { approvals, backend } = values;
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  const sessions = Number(values.sessions ?? (approvals ? 20 : 6));
  const isKnown = backend === "openai" || backend === "copilot";
  if (!isKnown || !isPositive(minutes) || !Number.isInteger(seed) || !isPositive(sessions)) {
    process.stderr.write(USAGE);
    return 2;
  }
  const startedAt = Date.now();
  const tell = (line: string): void => {
    process.stdout.write(`chaos: ${((Date.now() - startedAt) / 1_000).toFixed(0)} s: ${line}\n`);
  };
  if (approvals) {
    const report = await proveApprovals({ seed, sessions, backend, killsEach: KILLS_EACH, tell });
    process.stdout.write(renderApprovals(report));
    if (findingsOf(report).length === 0) return 0;
    process.stdout.write(`everything is kept in ${report.folder}\n`);
    return 1;
  }
  const report = await runChaos({ seed, sessions, backend, stormMs: minutes * 60_000, tell });
  print(report, seed);
  return report.violations.length > 0 ? 1 : 0;
}

function print(report: ChaosReport, seed: number): void {
  const { violations } = report;
  const kills = Object.entries(report.kills).filter(([, times]) => times > 0);
  const count = kills.reduce((sum, [, times]) => sum + times, 0);
  const told = kills.map(([name, times]) => `${name} ${times}`).join(", ");
  for (const { session, rule, detail } of violations.slice(0, VIOLATIONS_SHOWN)) {
    process.stdout.write(`violation in ${session}: ${rule}: ${detail}\n`);
  }
  if (violations.length > VIOLATIONS_SHOWN)
    process.stdout.write(`… and ${violations.length - VIOLATIONS_SHOWN} more\n`);
  if (violations.length > 0) process.stdout.write(`everything is kept in ${report.folder}\n`);
  process.stdout.write(
    `chaos: besides, the whole stack was restarted ${report.restarts} times, and ${report.otherDeaths} processes ended by themselves\n` +
      `chaos: seed ${seed}, ${count} kills (${told}), ${report.sessions} sessions, ${report.turns} messages, ` +
      `${report.commands} commands, ${report.decisions} decisions, ${violations.length} violations\n`,
  );
}

function isPositive(value: number): boolean {
  return value > 0 && Number.isFinite(value);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
