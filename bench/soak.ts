/** `npm run soak`: sessions that work, idle, close and are deleted, for as long as is asked; then whether anything still grows. */
import { parseArgs } from "node:util";
import { SandboxProviderName } from "../contract/sandbox.ts";
import { runSoak } from "./soak/run.ts";
import { renderLines } from "./soak/table.ts";

const USAGE =
  "usage: npm run soak -- [--minutes 20] [--sessions 20] [--sandbox local|bubblewrap|docker]\n" +
  "minutes and sessions are numbers; fewer than 3 minutes say little\n";

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "20" },
      sessions: { type: "string", default: "20" },
      sandbox: { type: "string", default: "local" },
    },
  });
  const [minutes, sessions] = [Number(values.minutes), Number(values.sessions)];
  const sandbox = SandboxProviderName.safeParse(values.sandbox);
  if (!(minutes > 0) || !Number.isInteger(sessions) || sessions < 2 || !sandbox.success) {
    process.stderr.write(USAGE);
    return 2;
  }
  const startedAt = Date.now();
  const tell = (line: string): void => {
    process.stdout.write(`soak: ${((Date.now() - startedAt) / 1_000).toFixed(0)} s: ${line}\n`);
  };
  const report = await runSoak({ forMs: minutes * 60_000, sessions, sandbox: sandbox.data, tell });
  process.stdout.write(renderLines(report.lines));
  for (const fault of report.faults) process.stdout.write(`soak: fault: ${fault}\n`);
  const growing = report.lines.filter(({ verdict }) => verdict === "grows");
  process.stdout.write(
    `soak: ${minutes} minutes, ${report.lives} sessions lived, ${report.messages} messages, ${report.samples} samples; ` +
      `${growing.length} lines grow, ${report.faults.length} faults\n`,
  );
  return growing.length + report.faults.length > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`soak: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
