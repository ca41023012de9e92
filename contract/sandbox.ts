/** Where a session's commands and files live: which provider makes the place, and within what bounds. */
import { z } from "zod";
import { LIMITS } from "./limits.ts";

export const SandboxProviderName = z
  .enum(["local", "bubblewrap", "docker", "modal"])
  .meta({ id: "SandboxProviderName" });
export type SandboxProviderName = z.infer<typeof SandboxProviderName>;

/** `host`, `*.domain` or an address, with or without a port: without one, 80 and 443. IPv6 in brackets. */
const ALLOWED_HOST =
  /^(?:\*\.)?(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*(?::\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::\d{1,5})?$/;
const PORT_MAX = 65_535;

export const AllowedHost = z
  .string()
  .max(260)
  .regex(ALLOWED_HOST, "expected a host, *.domain or an address, with or without :port; no scheme and no path")
  .refine(
    (host) => Number(/:(\d{1,5})$/.exec(host)?.[1] ?? 1) >= 1 && Number(/:(\d{1,5})$/.exec(host)?.[1] ?? 1) <= PORT_MAX,
    "expected a port from 1 to 65535",
  )
  .meta({ id: "AllowedHost" });
export type AllowedHost = z.infer<typeof AllowedHost>;

const SECRET_NAME = /(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?)$/i;

/** Variables of commands. They are kept and shown in clear, so what looks like a secret is refused. */
export const CommandEnvironment = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]{0,99}$/, "expected a variable's name")
      .refine(
        (name) => !SECRET_NAME.test(name),
        "this looks like a secret, and a profile is kept and shown in clear; name it in secrets instead",
      ),
    z
      .string()
      .max(LIMITS.environmentValueMax)
      .regex(/^[^\0]*$/, "expected no NUL character: no command can be given it"),
  )
  .refine(
    (variables) => Object.keys(variables).length <= LIMITS.environmentNamesMax,
    `expected at most ${LIMITS.environmentNamesMax} variables`,
  );
export type CommandEnvironment = z.infer<typeof CommandEnvironment>;

export const SandboxSpec = z
  .strictObject({
    provider: SandboxProviderName.optional().meta({
      description:
        "Default: PERDURE_SANDBOX of the worker; without it bubblewrap where that works, else local. Only those that PERDURE_SANDBOXES allows: all but local, where nothing is said.",
    }),
    image: z
      .string()
      .min(1)
      .max(512)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._/:@-]*$/, "expected an image's name, such as debian:12")
      .optional()
      .meta({ description: "What docker and modal make it from. Anything that has `sh`." }),
    cpu: z.number().min(0.05).max(128).optional().meta({ description: "Cores." }),
    memoryMiB: z.number().int().min(16).max(1_048_576).optional(),
    diskMiB: z
      .number()
      .int()
      .min(1)
      .max(1_048_576)
      .optional()
      .meta({ description: "What its commands may fill; how it is held is in the provider's capabilities." }),
    processesMax: z.number().int().min(8).max(65_536).optional(),
    network: z
      .strictObject({ allow: z.array(AllowedHost).max(LIMITS.allowedHostsMax) })
      .optional()
      .meta({
        description:
          "The hosts that its commands may reach, by way of a proxy. Without it: none, but for local, which holds nothing back.",
      }),
    ports: z.array(z.number().int().min(1).max(PORT_MAX)).max(16).optional().meta({
      description: "Ports that are reached from outside, where the provider has tunnels (modal).",
    }),
    idleTimeoutMs: z
      .number()
      .int()
      .min(1_000)
      .max(LIMITS.sandboxIdleMs.max)
      .optional()
      .meta({
        description: `An idle session's sandbox is stopped after so long, its workspace kept. Default ${LIMITS.sandboxIdleMs.default}.`,
      }),
    snapshotExcludes: z
      .array(z.string().min(1).max(500))
      .max(200)
      .optional()
      .meta({ description: "Patterns as in .gitignore of what a snapshot of the workspace leaves out." }),
    environment: CommandEnvironment.optional(),
  })
  .meta({ id: "SandboxSpec" });
export type SandboxSpec = z.infer<typeof SandboxSpec>;

/** As a client writes it: a provider's name stands for all defaults. */
export const SandboxInput = z.union([SandboxProviderName, SandboxSpec]).meta({ id: "SandboxInput" });
export type SandboxInput = z.infer<typeof SandboxInput>;

export function toSandboxSpec(input: SandboxInput): SandboxSpec {
  return typeof input === "string" ? { provider: input } : input;
}

/** How far a provider holds something back: `none`, or by what means, in one word. */
const Means = z.string().meta({ description: "`none`, or by what it is held." });

/** What a provider can do, as it is set up on one worker. */
export const SandboxCapabilities = z
  .object({
    isolation: Means,
    memory: Means,
    cpu: Means,
    processes: Means,
    disk: Means,
    network: Means.meta({ description: "`open`, `none`, or `allow-list`." }),
    images: z.boolean(),
    terminal: z.boolean(),
    tunnels: z.boolean(),
    snapshots: z.enum(["workspace", "provider", "none"]),
    hostBound: z.boolean().meta({ description: "It lives on the worker's host, and goes with it." }),
  })
  .meta({ id: "SandboxCapabilities" });
export type SandboxCapabilities = z.infer<typeof SandboxCapabilities>;

/** A provider as a worker announces it. */
export const AnnouncedSandbox = z
  .object({
    name: SandboxProviderName,
    available: z.boolean(),
    reason: z.string().nullable().meta({ description: "Why it is not available, or what of it is missing." }),
    isDefault: z.boolean(),
    capabilities: SandboxCapabilities.nullable(),
  })
  .meta({ id: "AnnouncedSandbox" });
export type AnnouncedSandbox = z.infer<typeof AnnouncedSandbox>;

/** A secret that commands get by its name; its value is the worker's and is never kept. */
export const AgentSecret = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]{0,99}$/, "expected a variable's name")
      .meta({ description: "The variable that commands see, and the name under which the worker has the value." }),
    commands: z
      .array(z.string().min(1).max(LIMITS.patternCharactersMax))
      .min(1)
      .max(LIMITS.policyArgumentsMax)
      .optional()
      .meta({
        description:
          "Which command lines get it, by patterns as in a policy's rule for `bash`; all of a line's commands must match. Default: all lines.",
      }),
  })
  .meta({ id: "AgentSecret" });
export type AgentSecret = z.infer<typeof AgentSecret>;
