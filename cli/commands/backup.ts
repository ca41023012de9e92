/** `perdure backup` and `perdure restore`: the embedded state as one verified file, and back. */
import path from "node:path";
import type { Command } from "commander";
import { readConfig } from "../../contract/config.ts";
import type { Restored } from "../backup/restore-backup.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { countText, sizeText } from "../quantities.ts";
import { UsageError } from "../usage-error.ts";

export function addBackup(program: Command, io: Io, end: (exitCode: number) => void): void {
  program
    .command("backup")
    .description(
      "Write a verified backup of the state directory (both databases and all artifacts) to a file. The stack may be running.",
    )
    .argument("<file>", "the file to write, a tar; it must not exist")
    .action(async (file: string) => {
      const { makeBackup } = await import("../backup/make-backup.ts");
      const made = await makeBackup({
        stateDir: stateDir(io),
        file: path.resolve(named(file)),
        perdure: program.version() ?? "",
      });
      if (made.missing > 0)
        io.stderr.write(
          `perdure: ${made.missing} artifacts or snapshots that the store names are not on the disk; the backup is without them\n`,
        );
      const { sessions, entries } = made.manifest;
      io.stdout.write(
        `${file}: ${countText(sessions, "session")}, ${countText(entries.length, "file")}, ${sizeText(made.bytes)}, verified\n`,
      );
      end(EXIT.completed);
    });
  program
    .command("restore")
    .description(
      "Replace the state directory's databases and artifacts by those of a backup. The stack must be stopped; the old state is moved aside.",
    )
    .argument("<file>", "a file that perdure backup has written")
    .action(async (file: string) => {
      const { restoreBackup } = await import("../backup/restore-backup.ts");
      const restored = await restoreBackup({ stateDir: stateDir(io), file: path.resolve(named(file)) });
      io.stdout.write(told(restored));
      end(EXIT.completed);
    });
}

function stateDir(io: Io): string {
  return path.resolve(readConfig(io.env).stateDir);
}

function named(file: string): string {
  if (file === "" || file === "-")
    throw new UsageError("name a file; a backup cannot be written to or read from a pipe");
  return file;
}

function told({ manifest, aside }: Restored): string {
  const at = new Date(manifest.madeAt).toISOString();
  const old = aside === undefined ? "" : `what was there before is in ${aside}; remove it when you no longer need it\n`;
  return `restored ${countText(manifest.sessions, "session")} as they were at ${at}\n${old}start the stack: each session continues from there\n`;
}
