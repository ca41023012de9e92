/** What a command is started with: the agent's variables, and the secrets that its line is given. */
import type { CommandStart } from "../sandbox/provider.ts";
import type { ToolContext } from "./tool.ts";

type Given = Pick<ToolContext, "environment" | "secrets">;

/** The variables of a command line. What is secret is given apart: a provider passes it where nobody else can read it. */
export function startWith(
  { environment, secrets }: Given,
  command: string,
): Pick<CommandStart, "environment" | "secrets"> {
  const variables = secrets?.givenTo(command).variables ?? {};
  return Object.keys(variables).length === 0 ? { environment } : { environment, secrets: variables };
}

/** What the command's result says of secrets that this worker has no value for: the command then ran without them. */
export function missingInWords({ secrets }: Given, command: string): readonly string[] {
  const missing = secrets?.givenTo(command).missing ?? [];
  if (missing.length === 0) return [];
  const [names, have] = missing.length === 1 ? ["secret", "has"] : ["secrets", "have"];
  return [`the ${names} ${missing.join(", ")} ${have} no value on this worker: the command ran without`];
}
