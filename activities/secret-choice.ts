/** Which of a worker's secrets a command line is given: those that the agent names, and whose patterns the line matches. */
import { domainToUnicode } from "node:url";
import { LIMITS } from "../contract/limits.ts";
import type { AgentSecret } from "../contract/sandbox.ts";
import { coversLine } from "../policy/policy.ts";
import { NO_REDACTION, REDACTED, type Redactor } from "../tools/redactor.ts";
import type { CallSecrets, GivenSecrets } from "../tools/tool.ts";

/** The secrets that a worker has, by name. Their values are nowhere but in its memory and in the commands that get them. */
export interface WorkerSecrets {
  readonly values: ReadonlyMap<string, string>;
  /** Takes out all of them, also those that the agent does not name: what another session left may hold one. */
  readonly redactor: Redactor;
}

export const NO_SECRETS: WorkerSecrets = { values: new Map(), redactor: NO_REDACTION };

/**
 * A name that has no value on this worker keeps no command from running, and the result says so: one secret that is missing
 * must not end every command of an agent whose secrets go to all of them, and the command's own error tells more than ours.
 */
export function callSecrets(secrets: WorkerSecrets = NO_SECRETS, named: readonly AgentSecret[] = []): CallSecrets {
  return { redactor: secrets.redactor, givenTo: (command) => givenTo(secrets, named, command) };
}

/** A text that is kept or shown: a result, an error, the name of a file. */
export function withoutSecrets(secrets: WorkerSecrets | undefined, text: string): string {
  return secrets === undefined ? text : secrets.redactor.text(text);
}

/** A host's name as it was told, perhaps cut. Of one whose code for other alphabets tells a secret nothing is left. */
export function hostWithoutSecrets(secrets: WorkerSecrets | undefined, host: string): string {
  if (secrets === undefined) return host;
  const unicode = domainToUnicode(host);
  if (unicode !== host && secrets.redactor.text(unicode) !== unicode) return REDACTED;
  return secrets.redactor.text(host, { end: host.length >= LIMITS.hostNameCharactersMax });
}

function givenTo({ values }: WorkerSecrets, named: readonly AgentSecret[], command: string): GivenSecrets {
  const names = named.filter((secret) => isFor(secret, command)).map(({ name }) => name);
  return {
    variables: Object.fromEntries(names.flatMap((name) => (values.has(name) ? [[name, values.get(name) ?? ""]] : []))),
    missing: [...new Set(names.filter((name) => !values.has(name)))],
  };
}

/** As a policy with these patterns for its only rules would allow the line: each of its commands by one of them. */
function isFor({ commands }: AgentSecret, command: string): boolean {
  return commands === undefined || coversLine(commands, command);
}
