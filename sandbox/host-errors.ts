/** The words of a failed file operation of this host, without paths of the host. */
import { SandboxError } from "./provider.ts";

export function codeOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

/** `given` is the path as it was asked for. */
export function toSandboxError(thrown: unknown, given: string): SandboxError {
  if (thrown instanceof SandboxError) return thrown;
  const code = codeOf(thrown);
  const options = { cause: thrown };
  switch (code) {
    case "ENOENT":
      return new SandboxError("not_found", `there is no ${given}`, options);
    case "ENOTDIR":
      return new SandboxError("not_found", `${given}: expected a folder, found something else on the way`, options);
    case "EISDIR":
      return new SandboxError("is_folder", `${given} is a folder, expected a file`, options);
    case "EEXIST":
      return new SandboxError("failed", `${given}: a file is where a folder is needed`, options);
    case "ELOOP":
    case "EACCES":
    case "EPERM":
      return new SandboxError("denied", `${given} may not be accessed (${code})`, options);
    case "ENOSPC":
    case "EDQUOT":
      return new SandboxError("failed", `no space is left to write ${given}`, options);
    case "ENAMETOOLONG":
      return new SandboxError("denied", `the path has a name that is too long`, options);
    default:
      return new SandboxError("failed", `${given} could not be accessed (${code ?? "unknown"})`, options);
  }
}
