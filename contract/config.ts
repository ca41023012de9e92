/** The environment that every process of Perdure reads, as one schema. Nothing else reads the environment. */
import { z } from "zod";
import { AllowedHost, SandboxProviderName } from "./sandbox.ts";

const delimiter = ":";

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/;
const ADDRESS = /^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/;
const PORT_MAX = 65_535;
const DAY_MS = 24 * 3_600_000;

/** One rule per variable: what is accepted, the default, and the words that say what was expected. */
const Environment = z.object({
  PERDURE_PORT: z
    .string()
    .default("8700")
    .refine((text) => /^\d{1,5}$/.test(text) && Number(text) <= PORT_MAX, "a port from 0 (any free one) to 65535")
    .transform(Number),
  PERDURE_HOST: z
    .string()
    .default("127.0.0.1")
    .refine(
      (host) => LOOPBACK.test(host),
      "a loopback address such as 127.0.0.1: the API has one token for all and speaks no TLS, so it must not be reachable from elsewhere",
    ),
  PERDURE_URL: z.string().refine(isHttpUrl, "an http:// or https:// URL").optional(),
  PERDURE_STATE_DIR: z.string().default(".perdure"),
  PERDURE_SYNCHRONOUS: z.enum(["normal", "full"], { error: "normal, or full" }).default("normal"),
  PERDURE_AUTH: z.enum(["token", "off"], { error: "token, or off" }).default("token"),
  PERDURE_TOKEN: z
    .string()
    .regex(/^[\x21-\x7e]{1,512}$/, { error: "a token, without spaces" })
    .optional(),
  PERDURE_MODEL: z.string().default("gpt-5"),
  PERDURE_LOG_LEVEL: z
    .enum(["silent", "error", "warn", "info", "debug"], { error: "silent, error, warn, info or debug" })
    .default("info"),
  /** Read by the set-up, which runs before anything else: scripts/get-temporal.mjs. */
  PERDURE_TEMPORAL_SHA256: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, { error: "64 hex digits, the SHA-256 of an archive" })
    .optional(),
  TEMPORAL_ADDRESS: z
    .string()
    .refine(
      (text) => Number(ADDRESS.exec(text)?.[2] ?? PORT_MAX + 1) <= PORT_MAX,
      "host:port of a Temporal server, such as 127.0.0.1:7233",
    )
    .optional(),
  TEMPORAL_NAMESPACE: z.string().default("default"),
  OPENAI_API_KEY: z.string().optional(),
  OPENAI_BASE_URL: z.string().default("https://api.openai.com/v1").refine(isHttpUrl, "an http:// or https:// URL"),
  COPILOT_GITHUB_TOKEN: z.string().optional(),
  COPILOT_PROVIDER_BASE_URL: z.string().refine(isHttpUrl, "an http:// or https:// URL").optional(),
  COPILOT_PROVIDER_API_KEY: z.string().optional(),
  COPILOT_PROVIDER_WIRE_API: z
    .enum(["responses", "completions", "anthropic"], { error: "responses, completions or anthropic" })
    .default("responses"),
  PERDURE_TOOLS: z.string().optional(),
  PERDURE_AGENTS: z.string().optional(),
  PERDURE_SECRETS_FILE: z.string().optional(),
  PERDURE_SANDBOX: z
    .enum(SandboxProviderName.options, { error: SandboxProviderName.options.join(", ").replace(/, (\w+)$/, " or $1") })
    .optional(),
  PERDURE_SANDBOXES: z
    .string()
    .refine(
      (text) => listed(text).length > 0 && listed(text).every((name) => SandboxProviderName.safeParse(name).success),
      {
        error: `names of ${SandboxProviderName.options.join(", ")}, with commas between them`,
      },
    )
    .transform((text) => listed(text) as SandboxProviderName[])
    .optional(),
  PERDURE_HOST_ID: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, { error: "1 to 100 letters, digits, dots, _ or -" })
    .optional(),
  PERDURE_DOWNLOADS_ALLOW: z
    .string()
    .default("")
    .refine((text) => listed(text).every((host) => AllowedHost.safeParse(host).success), {
      error: "hosts with or without a port, such as files.example.com or 10.0.0.5:8080, with commas between them",
    })
    .transform(listed),
  PERDURE_CLOSED_KEPT_DAYS: z
    .string()
    .default("forever")
    .refine((text) => text === "forever" || (/^\d{1,5}$/.test(text) && Number(text) > 0), {
      error: "days from 1 to 99999, or forever",
    })
    .transform((text) => (text === "forever" ? undefined : Number(text) * DAY_MS)),
  PERDURE_SANDBOX_READ_ONLY: z.string().optional(),
  PERDURE_SANDBOX_IMAGE: z.string().default("debian:12-slim"),
  MODAL_TOKEN_ID: z.string().optional(),
  MODAL_TOKEN_SECRET: z.string().optional(),
  MODAL_SERVER_URL: z.string().refine(isHttpUrl, "an http:// or https:// URL").optional(),
  PERDURE_MODAL_APP: z.string().default("perdure"),
});

/** The names of all variables, for documents and for tests of documents. */
export const CONFIG_VARIABLES: readonly string[] = Object.keys(Environment.shape);

/** One secret of a worker's, under the name that agents name it by. No agent can so ask for another variable of the worker's. */
export const SECRET_VARIABLE: RegExp = /^PERDURE_SECRET_(.+)$/;

/** Variables whose value must not be repeated in a message. */
const SECRET: ReadonlySet<string> = new Set([
  "PERDURE_TOKEN",
  "OPENAI_API_KEY",
  "COPILOT_GITHUB_TOKEN",
  "COPILOT_PROVIDER_API_KEY",
  "MODAL_TOKEN_ID",
  "MODAL_TOKEN_SECRET",
]);

/** Other programs' variables that hold one, such as a tool's own key, which a worker gets with the rest of its environment. */
const SECRET_NAME = /(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEY)$/i;
/** A shorter value is in too many words to be taken out of them. */
const SECRET_CHARACTERS_MIN = 8;

/** `EX_CONFIG` of sysexits.h: a process of ours cannot be used as it is set up. To start it again would not help. */
export const EXIT_CONFIG = 78;

export interface Config {
  /** Port of the API; 0 asks for any free one. */
  readonly port: number;
  readonly host: string;
  /** Where client commands find the API, instead of what the state folder says. */
  readonly apiUrl: string | undefined;
  /** As it was given, so perhaps relative: each process makes it absolute where it starts. */
  readonly stateDir: string;
  /** Whether the API asks its callers for the token of the state folder. Off only where it listens on the loopback. */
  readonly auth: "token" | "off";
  /** What our tools send to an API that is not that of their state folder. */
  readonly token: string | undefined;
  readonly model: string;
  /** Whether each commit waits until the disk has it, in the store and in the embedded Temporal's database. */
  readonly synchronous: "normal" | "full";
  readonly logLevel: "silent" | "error" | "warn" | "info" | "debug";
  /** Undefined means: start the embedded server. */
  readonly temporalAddress: string | undefined;
  readonly temporalNamespace: string;
  readonly openaiApiKey: string | undefined;
  readonly openaiBaseUrl: string;
  readonly copilotGithubToken: string | undefined;
  /** A model provider of one's own for the copilot backend, instead of GitHub's. */
  readonly copilotProvider: CopilotProvider | undefined;
  /** Modules with tools of one's own, as they were given, so perhaps relative. */
  readonly toolModules: readonly string[];
  /** The folder of agent profiles that are loaded at start; undefined: `agents/` when there is one. */
  readonly agentsFolder: string | undefined;
  /** A file of secrets that agents may name, as it was given, so perhaps relative. */
  readonly secretsFile: string | undefined;
  readonly sandbox: SandboxConfig;
  /** Hosts that downloads into a workspace may be fetched from although their addresses are not public. */
  readonly downloadsAllow: readonly string[];
  /** Closed sessions are deleted after so long; undefined: by whoever deletes them. */
  readonly closedKeptMs: number | undefined;
}

export interface SandboxConfig {
  /** The provider of sessions that name none; undefined: bubblewrap where it works, else local. */
  readonly provider: SandboxProviderName | undefined;
  /** What callers may ask for, besides the default; undefined: all but local. */
  readonly allowed: readonly SandboxProviderName[] | undefined;
  /** What this host is called; undefined: its own name. Sandboxes on it are only reached by workers that call it the same. */
  readonly hostId: string | undefined;
  /** Folders of the host that commands in bubblewrap see, read-only: a toolchain outside of /usr, say. */
  readonly readOnly: readonly string[];
  /** Of sandboxes of docker and modal that name no image. */
  readonly image: string;
  readonly modal: {
    readonly tokenId: string | undefined;
    readonly tokenSecret: string | undefined;
    readonly serverUrl: string | undefined;
    readonly app: string;
  };
}

export interface CopilotProvider {
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
  readonly wireApi: "responses" | "completions" | "anthropic";
}

/** The environment cannot be used. The message has one line per wrong variable. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Reads the environment. An empty variable counts as one that is not set.
 * @throws ConfigError that lists every wrong variable, with what was expected and what came.
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ""));
  const read = Environment.safeParse(given);
  if (!read.success) throw new ConfigError(complaint(given, read.error.issues));
  const { data } = read;
  return {
    port: data.PERDURE_PORT,
    host: data.PERDURE_HOST,
    apiUrl: data.PERDURE_URL,
    stateDir: data.PERDURE_STATE_DIR,
    synchronous: data.PERDURE_SYNCHRONOUS,
    auth: data.PERDURE_AUTH,
    token: data.PERDURE_TOKEN,
    model: data.PERDURE_MODEL,
    logLevel: data.PERDURE_LOG_LEVEL,
    temporalAddress: data.TEMPORAL_ADDRESS,
    temporalNamespace: data.TEMPORAL_NAMESPACE,
    openaiApiKey: data.OPENAI_API_KEY,
    openaiBaseUrl: data.OPENAI_BASE_URL,
    copilotGithubToken: data.COPILOT_GITHUB_TOKEN,
    copilotProvider:
      data.COPILOT_PROVIDER_BASE_URL === undefined
        ? undefined
        : {
            baseUrl: data.COPILOT_PROVIDER_BASE_URL,
            apiKey: data.COPILOT_PROVIDER_API_KEY,
            wireApi: data.COPILOT_PROVIDER_WIRE_API,
          },
    // As PATH is written.
    toolModules: (data.PERDURE_TOOLS ?? "").split(delimiter).filter((module) => module !== ""),
    agentsFolder: data.PERDURE_AGENTS,
    secretsFile: data.PERDURE_SECRETS_FILE,
    sandbox: {
      provider: data.PERDURE_SANDBOX,
      allowed: data.PERDURE_SANDBOXES,
      hostId: data.PERDURE_HOST_ID,
      readOnly: (data.PERDURE_SANDBOX_READ_ONLY ?? "").split(delimiter).filter((folder) => folder !== ""),
      image: data.PERDURE_SANDBOX_IMAGE,
      modal: {
        tokenId: data.MODAL_TOKEN_ID,
        tokenSecret: data.MODAL_TOKEN_SECRET,
        serverUrl: data.MODAL_SERVER_URL,
        app: data.PERDURE_MODAL_APP,
      },
    },
    downloadsAllow: data.PERDURE_DOWNLOADS_ALLOW,
    closedKeptMs: data.PERDURE_CLOSED_KEPT_DAYS,
  };
}

/** Names the descriptor on which a process of ours is given the variables that its environment must not show. */
export const HANDED_VARIABLES = "PERDURE_HANDED_VARIABLES";

/** The argument of a process of ours that loads its program, and begins only when its supervisor sends it the message. */
export const SPARE_ARGUMENT = "--spare";
export const SPARE_BEGINS = { type: "begin" } as const;

/** Whether a variable's name says that its value is a secret, of ours or of another program. */
export function isSecretVariable(name: string): boolean {
  return SECRET.has(name) || SECRET_NAME.test(name) || SECRET_VARIABLE.test(name);
}

/** The values of an environment that must be in no message, whoever writes it. */
export function secretValues(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  return Object.entries(env).flatMap(([name, value = ""]) =>
    isSecretVariable(name) && value.length >= SECRET_CHARACTERS_MIN ? [value] : [],
  );
}

function complaint(given: Readonly<Record<string, unknown>>, issues: readonly z.core.$ZodIssue[]): string {
  const lines = issues.map((issue) => {
    const name = String(issue.path[0]);
    const came = SECRET.has(name) ? "something else" : JSON.stringify(given[name]);
    return `  ${name}: expected ${issue.message}; got ${came}`;
  });
  return `the environment is not usable:\n${lines.join("\n")}`;
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol);
}

function listed(text: string): readonly string[] {
  return text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
}
