/** Which variables of the supervisor each of its processes is given: the worker all, secrets by a way of their own; the API what it needs. */
import { isSecretVariable } from "../contract/config.ts";

export interface ProcessVariables {
  readonly env: NodeJS.ProcessEnv;
  /** What the environment must not show. */
  readonly handed?: NodeJS.ProcessEnv;
}

/** What the API, Node and the C library read. A list, so that no key of a program that we do not know of is among it. */
const OF_API = /^(?:PERDURE_.+|TEMPORAL_.+|NODE_.+|PATH|HOME|TMPDIR|TZ|LANG|LC_.+|NO_COLOR|FORCE_COLOR)$/;

/** A worker's own tools read what they like: a worker gets everything. */
export function workerVariables(env: NodeJS.ProcessEnv): ProcessVariables {
  const entries = Object.entries(env);
  return {
    env: Object.fromEntries(entries.filter(([name]) => !isSecretVariable(name))),
    handed: Object.fromEntries(entries.filter(([name, value]) => value !== undefined && isSecretVariable(name))),
  };
}

export function apiVariables(env: NodeJS.ProcessEnv): ProcessVariables {
  return {
    env: Object.fromEntries(Object.entries(env).filter(([name]) => OF_API.test(name) && !isSecretVariable(name))),
  };
}
