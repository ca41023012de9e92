/** `npm run chaos`: sessions at work while Temporal, the worker and the API are killed at random instants; then the truth. */
import { parseArgs } from "node:util";
import type { ChaosReport } from "./chaos/run.ts";
import { runChaos } from "./chaos/run.ts";

const VIOLATIONS_SHOWN = 50;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: "7" },
      sessions: { type: "string", default: "6" },
    },
  });
  const [minutes, seed, sessions] = [values.minutes, values.seed, values.sessions].map(Number);
  if (!isPositive(minutes) || !Number.isInteger(seed) || seed === undefined || !isPositive(sessions)) {
    process.stderr.write("usage: npm run chaos -- [--minutes 2] [--seed 7] [--sessions 6]; all of them numbers\n");
    return 2;
  }
  const startedAt = Date.now();
  const tell = (line: string): void => {
    process.stdout.write(`chaos: ${((Date.now() - startedAt) / 1_000).toFixed(0)} s: ${line}\n`);
  };
  const report = await runChaos({ seed, sessions, stormMs: minutes * 60_000, tell });
  print(report, seed);
  return report.violations.length > 0 ? 1 : 0;
}

function print(report: ChaosReport, seed: number): void {
  const { kills, violations } = report;
  for (const { session, rule, detail } of violations.slice(0, VIOLATIONS_SHOWN)) {
    process.stdout.write(`violation in ${session}: ${rule}: ${detail}\n`);
  }
  if (violations.length > VIOLATIONS_SHOWN)
    process.stdout.write(`… and ${violations.length - VIOLATIONS_SHOWN} more\n`);
  if (violations.length > 0) process.stdout.write(`everything is kept in ${report.folder}\n`);
  process.stdout.write(
    `chaos: besides, the whole stack was restarted ${report.restarts} times, and ${report.otherDeaths} processes ended by themselves\n` +
      `chaos: seed ${seed}, ${kills.worker + kills.api + kills.temporal} kills (worker ${kills.worker}, api ${kills.api}, temporal ${kills.temporal}), ` +
      `${report.sessions} sessions, ${report.turns} turns, ${report.commands} commands, ${violations.length} violations\n`,
  );
}

function isPositive(value: number | undefined): value is number {
  return value !== undefined && value > 0 && Number.isFinite(value);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
