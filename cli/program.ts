/** The commands of `perdure`. No stack trace reaches a person: what fails is said in one line, and the exit code tells it apart. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ConfigError } from "../contract/config.ts";
import { BackupError } from "./backup/backup-error.ts";
import { ClientError } from "./client-error.ts";
import { addAgents } from "./commands/agents.ts";
import { addAnswer } from "./commands/answer.ts";
import { addApprovals } from "./commands/approvals.ts";
import { addAttach } from "./commands/attach.ts";
import { addBackends } from "./commands/backends.ts";
import { addBackup } from "./commands/backup.ts";
import { addChat } from "./commands/chat.ts";
import { addEndings } from "./commands/endings.ts";
import { addGrants } from "./commands/grants.ts";
import { addProcesses } from "./commands/processes.ts";
import { addRun } from "./commands/run.ts";
import { addSandboxes } from "./commands/sandboxes.ts";
import { addSend } from "./commands/send.ts";
import { addSessions } from "./commands/sessions.ts";
import { addStatus } from "./commands/status.ts";
import { addTerminal } from "./commands/terminal.ts";
import { EXIT } from "./exit-codes.ts";
import type { Io } from "./io.ts";
import { packagePath } from "./package-root.ts";
import { StackError } from "./stack-error.ts";
import { safeLine, safeText } from "./terminal-text.ts";
import { UsageError } from "./usage-error.ts";

const HELP = `
Exit codes: ${EXIT.completed} the turn completed, ${EXIT.failed} it failed or was refused, ${EXIT.usage} the command line or the environment is wrong,
${EXIT.interrupted} the turn was interrupted, ${EXIT.unreachable} the API cannot be reached, ${EXIT.waiting} a person is waited for, ${EXIT.detached} left by Ctrl-C while the session goes on.

Examples:
  perdure dev
  perdure run "count the files here and write outputs/report.md"
  perdure chat --session <session>
  perdure attach <session> --after 12`;
const MESSAGE_CHARACTERS = 2_000;

function createProgram(io: Io, end: (exitCode: number) => void): Command {
  const program = new Command("perdure")
    .description("Durable AI agent sessions on Temporal.")
    .version(version(), "-V, --version")
    .addHelpText("after", HELP)
    .showHelpAfterError("(perdure --help says what there is)")
    .enablePositionalOptions() // `agents show --version 2` is not a question for ours.
    .exitOverride();
  for (const add of [
    addProcesses,
    addStatus,
    addRun,
    addChat,
    addAttach,
    addSessions,
    addSend,
    addTerminal,
    addAgents,
    addBackends,
    addSandboxes,
    addApprovals,
    addAnswer,
    addGrants,
    addEndings,
    addBackup,
  ])
    add(program, io, end);
  return program;
}

function version(): string {
  const read: { version?: unknown } = JSON.parse(readFileSync(packagePath("package.json"), "utf8"));
  return String(read.version);
}

/** The exit code of what was thrown, said in words on stderr. */
function explain(error: unknown, stderr: Io["stderr"]): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.completed : EXIT.usage; // It has said so itself.
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ConfigError || error instanceof UsageError) {
    stderr.write(`perdure: ${message}\n`);
    return EXIT.usage;
  }
  if (error instanceof BackupError || error instanceof StackError) {
    stderr.write(`perdure: ${safeText(message)}\n`);
    return EXIT.failed;
  }
  const isKnown = error instanceof ClientError;
  stderr.write(`perdure: ${isKnown ? "" : "this is a bug of perdure: "}${safeLine(message, MESSAGE_CHARACTERS)}\n`);
  return isKnown && error.kind !== "refused" ? EXIT.unreachable : EXIT.failed;
}

/** Runs the command line of this process, and answers with its exit code once there is nothing left to do. */
export async function runProgram(io: Io): Promise<number> {
  let exitCode: number = EXIT.completed;
  try {
    await createProgram(io, (code) => {
      exitCode = code;
    }).parseAsync();
    return exitCode;
  } catch (error) {
    return explain(error, io.stderr);
  }
}
