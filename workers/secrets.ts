/** The secrets of a worker: from a file and from variables of its own, checked once when it starts. */
import { readFileSync, statSync } from "node:fs";
import { NO_SECRETS, type WorkerSecrets } from "../activities/secret-choice.ts";
import { ConfigError, SECRET_VARIABLE } from "../contract/config.ts";
import { LIMITS } from "../contract/limits.ts";
import { createRedactor } from "../tools/redactor.ts";
import { SECRET_BYTES_MIN } from "../tools/secret-forms.ts";

/**
 * The secrets of an environment and a file; their variables are gone from the environment then, so that no process that this
 * one starts has them. Throws as `loadSecrets` does.
 */
export function takeSecrets(
  environment: Record<string, string | undefined>,
  from: Pick<SecretSources, "file" | "warn">,
): WorkerSecrets {
  const secrets = loadSecrets({ ...from, environment });
  for (const variable of Object.keys(environment)) {
    if (SECRET_VARIABLE.test(variable)) delete environment[variable];
  }
  return secrets;
}

export interface SecretSources {
  /** A JSON object of texts, or lines of NAME=VALUE. */
  readonly file: string | undefined;
  /** Where `PERDURE_SECRET_<NAME>` is looked for; it stands over the file. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Never told a value. */
  warn(fields: object, message: string): void;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,99}$/;
/** Names that an owner's group or anybody else may read a file by. */
const OTHERS_MAY_READ = 0o044;
const FILE_BYTES_MAX = LIMITS.secretsMax * LIMITS.secretValueBytesMax;

/** Throws ConfigError, in words without a value, when the file cannot be read or is not what it should be. */
export function loadSecrets(sources: SecretSources): WorkerSecrets {
  const given = new Map([
    ...(sources.file === undefined ? [] : readSecrets(sources.file, sources.warn)),
    ...fromEnvironment(sources.environment),
  ]);
  const values = new Map([...given].filter(([name, value]) => isUsable(name, value, sources.warn)));
  return values.size === 0 ? NO_SECRETS : { values, redactor: createRedactor(values.values()) };
}

function isUsable(name: string, value: string, warn: SecretSources["warn"]): boolean {
  const refuse = (why: string): boolean => {
    warn({ secret: name }, `the secret is not used: ${why}`);
    return false;
  };
  const bytes = Buffer.byteLength(value);
  if (!NAME.test(name)) return refuse("its name is not a variable's: letters, digits and _, at most 100");
  if (Buffer.byteLength(value.trimEnd()) < SECRET_BYTES_MIN) {
    return refuse(`it has less than ${SECRET_BYTES_MIN} characters, and would take half of every output with it`);
  }
  if (bytes > LIMITS.secretValueBytesMax) return refuse(`it has more than ${LIMITS.secretValueBytesMax} bytes`);
  if (value.includes("\0")) return refuse("it holds a NUL character, which no variable can");
  return true;
}

function fromEnvironment(environment: SecretSources["environment"]): readonly [string, string][] {
  return Object.entries(environment).flatMap(([variable, value]): [string, string][] => {
    const name = SECRET_VARIABLE.exec(variable)?.[1];
    return name === undefined || value === undefined || value === "" ? [] : [[name, value]];
  });
}

function readSecrets(file: string, warn: SecretSources["warn"]): readonly [string, string][] {
  const text = readText(file, warn);
  return text.trimStart().startsWith("{") ? fromJson(text) : fromLines(text);
}

function readText(file: string, warn: SecretSources["warn"]): string {
  try {
    const { mode, size } = statSync(file);
    if (size > FILE_BYTES_MAX) throw unusable(`it has more than ${FILE_BYTES_MAX} bytes`);
    if ((mode & OTHERS_MAY_READ) !== 0) {
      warn({ mode: (mode & 0o777).toString(8) }, "other users of this host may read the file of secrets: chmod 600 it");
    }
    return readFileSync(file, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw unusable(`it cannot be read (${error instanceof Error && "code" in error ? String(error.code) : "unknown"})`);
  }
}

/** A parser's own message may quote the text, so it is not told. */
function fromJson(text: string): readonly [string, string][] {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    throw unusable("it begins as a JSON object and is none");
  }
  return Object.entries(read as object).map(([name, value]): [string, string] => {
    if (typeof value !== "string") throw unusable(`${JSON.stringify(name.slice(0, 100))} is not a text`);
    return [name, value];
  });
}

/** As `.env` files are commonly written: `export`, comments, and quotes around a value are allowed; "\n" in double quotes. */
function fromLines(text: string): readonly [string, string][] {
  return text.split(/\r?\n/).flatMap((line, index): [string, string][] => {
    if (/^\s*(?:#|$)/.test(line)) return [];
    const [, name, value = ""] = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (name === undefined) throw unusable(`line ${index + 1} is not NAME=VALUE`);
    return [[name, unquoted(value)]];
  });
}

function unquoted(value: string): string {
  const [, quote, inside = ""] = /^(["'])(.*)\1$/s.exec(value) ?? [];
  if (quote === undefined) return value;
  return quote === "'" ? inside : inside.replace(/\\([nr"\\])/g, (_, one: string) => ESCAPED[one] ?? one);
}

const ESCAPED: Readonly<Record<string, string>> = { n: "\n", r: "\r" };

function unusable(why: string): ConfigError {
  return new ConfigError(`the environment is not usable:\n  PERDURE_SECRETS_FILE: expected a file of secrets; ${why}`);
}
