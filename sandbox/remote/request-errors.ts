/** What the shell's statuses mean, in words that a person can act on. */
import { SandboxError } from "../provider.ts";
import { STATUS } from "./shell-script.ts";
import type { Reply } from "./shells.ts";

/** `given`: the path as the caller wrote it. */
export function toSandboxError({ status, output }: Reply, given: string): SandboxError {
  const shown = JSON.stringify(given.length > 200 ? `${given.slice(0, 200)}…` : given);
  switch (status) {
    case STATUS.lost:
      return new SandboxError("lost", "the sandbox's workspace is gone");
    case STATUS.leadsOut:
      return new SandboxError("denied", `the path ${shown} leads out of the workspace`);
    case STATUS.notFolderOnTheWay:
      return new SandboxError("not_found", `${shown}: a part of the path is not a folder`);
    case STATUS.missing:
      return new SandboxError("not_found", `there is no ${shown}`);
    case STATUS.isFolder:
      return new SandboxError("is_folder", `${shown} is a folder, expected a file`);
    case STATUS.notRegular:
      return new SandboxError("failed", `${shown} is not a regular file`);
    case STATUS.notFolder:
      return new SandboxError("not_found", `${shown} is not a folder`);
    case STATUS.refused:
      return new SandboxError("denied", `${shown} may not be accessed`);
    case STATUS.noSpace:
      return new SandboxError("failed", `${shown} could not be written: the sandbox may have no space left`);
    case STATUS.tooLarge:
      return new SandboxError("too_large", `${shown} is too large to be read at once`);
    case STATUS.cancelled:
      return new SandboxError("failed", `${shown} was not written: its content broke off`);
    case STATUS.lacks:
      return new SandboxError("failed", `the sandbox's image lacks ${programName(output)}, which this needs`);
    case STATUS.unclaimed:
      return new SandboxError(
        "failed",
        "the command could not be started: no process could be made in the sandbox, or nothing written",
      );
    case STATUS.noCall:
      return new SandboxError("not_found", `no command was started under ${given}`);
    default:
      return new SandboxError("failed", `${shown} could not be accessed (status ${status})`);
  }
}

/** What the sandbox says is missing is not believed to be a program's name. */
function programName(output: Buffer): string {
  const name = output.toString("latin1").trim();
  return /^[a-z]{1,16}$/.test(name) ? `the program ${name}` : "a program";
}
