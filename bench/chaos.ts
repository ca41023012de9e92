/**
 * `npm run chaos`: sessions at work while Temporal, the worker and the API are killed, paused, set back and starved; then the truth.
 * With `--approvals` the proof of approvals instead, with `--sandbox` sessions of that provider, whose sandboxes are killed, too.
 */
import { parseArgs } from "node:util";
import { SandboxProviderName } from "../contract/sandbox.ts";
import { proveApprovals } from "./approvals/run.ts";
import { findingsOf, renderApprovals } from "./approvals/table.ts";
import { runInside } from "./chaos/faults/machine.ts";
import { type ChaosReport, runChaos } from "./chaos/run.ts";
import { runSandboxChaos, type SandboxChaosReport } from "./sandboxes/run.ts";

const VIOLATIONS_SHOWN = 50;
const KILLS_EACH = 12;
const USAGE =
  "usage: npm run chaos -- [--minutes 2] [--seed 7] [--sessions 6] [--backend openai] [--temporal embedded|external] [--kills-only]\n" +
  "       npm run chaos -- --approvals [--seed 7] [--sessions 20] [--backend openai]\n" +
  "       npm run chaos -- --sandbox bubblewrap|docker|modal|local [--minutes 2] [--seed 7] [--sessions 6] [--kills-only]\n" +
  "minutes, seed and sessions are numbers, the backend is openai or copilot\n";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      approvals: { type: "boolean", default: false },
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: "7" },
      sessions: { type: "string" },
      backend: { type: "string", default: "openai" },
      sandbox: { type: "string" },
      temporal: { type: "string" },
      "kills-only": { type: "boolean", default: false },
    },
  });
  const { approvals, backend } = values;
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  const sessions = Number(values.sessions ?? (approvals ? 20 : 6));
  const isKnown = backend === "openai" || backend === "copilot";
  const sandbox = values.sandbox === undefined ? undefined : SandboxProviderName.safeParse(values.sandbox);
  if (
    !isKnown ||
    sandbox?.success === false ||
    !isTemporal(values.temporal) ||
    !isPositive(minutes) ||
    !Number.isInteger(seed) ||
    !isPositive(sessions)
  ) {
    process.stderr.write(USAGE);
    return 2;
  }
  const code = values["kills-only"] || approvals ? undefined : await runInside();
  if (code !== undefined) return code;
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
  if (sandbox) {
    const report = await runSandboxChaos({
      ...{ provider: sandbox.data, seed, sessions, stormMs: minutes * 60_000, tell },
      killsOnly: values["kills-only"],
    });
    printSandboxes(report, seed);
    return report.violations.length > 0 ? 1 : 0;
  }
  // By turns, so that a row of seeds has both.
  const temporal = values.temporal ?? (seed % 2 === 0 ? "external" : "embedded");
  const killsOnly = values["kills-only"];
  const report = await runChaos({ seed, sessions, backend, temporal, killsOnly, stormMs: minutes * 60_000, tell });
  print(report, seed);
  return report.violations.length > 0 ? 1 : 0;
}

function print(report: ChaosReport, seed: number): void {
  printViolations(report);
  process.stdout.write(
    `chaos: besides, the whole stack was restarted ${report.restarts} times, and ${report.otherDeaths} processes ended by themselves\n` +
      `chaos: other faults: ${faultsOf(report)}; ${report.behind} sessions lived through a loss\n` +
      `chaos: seed ${seed}, ${killsOf(report)}, ${report.sessions} sessions, ${report.turns} messages, ` +
      `${report.commands} commands, ${report.decisions} decisions, ${report.violations.length} violations\n`,
  );
}

function printSandboxes(report: SandboxChaosReport, seed: number): void {
  printViolations(report);
  const ended = Object.entries(report.outcomes).map(([outcome, times]) => `${outcome} ${times}`);
  process.stdout.write(
    `chaos: calls ended as ${ended.join(", ")}; ${report.snapshots} snapshots, ${report.losses} losses told, ` +
      `${report.looks} looks at what was there; of ${report.unseen} killed sandboxes nobody could see what they had begun\n` +
      `chaos: besides, the whole stack was restarted ${report.restarts} times; other faults: ${faultsOf(report)}\n` +
      `chaos: seed ${seed}, ${killsOf(report)}, ${report.sessions} sessions, ${report.turns} messages, ` +
      `${report.commands} commands, ${report.violations.length} violations\n`,
  );
}

function faultsOf({ faults }: Pick<ChaosReport | SandboxChaosReport, "faults">): string {
  const made = Object.entries(faults).map(([type, times]) => `${type} ${times}`);
  return made.length === 0 ? "none" : made.join(", ");
}

function isTemporal(value: string | undefined): value is "embedded" | "external" | undefined {
  return value === undefined || value === "embedded" || value === "external";
}

function killsOf({ kills }: Pick<ChaosReport, "kills">): string {
  const some = Object.entries(kills).filter(([, times]) => times > 0);
  const count = some.reduce((sum, [, times]) => sum + times, 0);
  return `${count} kills (${some.map(([name, times]) => `${name} ${times}`).join(", ")})`;
}

function printViolations({ violations, folder }: Pick<ChaosReport, "violations" | "folder">): void {
  for (const { session, rule, detail } of violations.slice(0, VIOLATIONS_SHOWN)) {
    process.stdout.write(`violation in ${session}: ${rule}: ${detail}\n`);
  }
  if (violations.length > VIOLATIONS_SHOWN)
    process.stdout.write(`… and ${violations.length - VIOLATIONS_SHOWN} more\n`);
  if (violations.length > 0) process.stdout.write(`everything is kept in ${folder}\n`);
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
