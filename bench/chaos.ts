/** `npm run chaos`: sessions at work while Temporal, the worker and the API are killed at random instants; then the truth. */
import { parseArgs } from "node:util";
import type { ChaosReport } from "./chaos/run.ts";
import { runChaos } from "./chaos/run.ts";

const VIOLATIONS_SHOWN = 50;
const USAGE =
  "usage: npm run chaos -- [--minutes 2] [--seed 7] [--sessions 6] [--backend openai]; the first three are numbers, the backend is openai or copilot\n";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: "7" },
      sessions: { type: "string", default: "6" },
      backend: { type: "string", default: "openai" },
    },
  });
  const [minutes, seed, sessions] = [values.minutes, values.seed, values.sessions].map(Number);
  const { backend } = values;
  const isKnown = backend === "openai" || backend === "copilot";
  if (!isKnown || !isPositive(minutes) || !Number.isInteger(seed) || seed === undefined || !isPositive(sessions)) {
    process.stderr.write(USAGE);
    return 2;
  }
  const startedAt = Date.now();
  const tell = (line: string): void => {
    process.stdout.write(`chaos: ${((Date.now() - startedAt) / 1_000).toFixed(0)} s: ${line}\n`);
  };
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

function isPositive(value: number | undefined): value is number {
  return value !== undefined && value > 0 && Number.isFinite(value);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
