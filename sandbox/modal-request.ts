/** What a sandbox at Modal is asked for with: names, tags, time limits, network. Refuses in words what Modal cannot hold. */
import { createHash } from "node:crypto";
import { isIPv4 } from "node:net";
import type { SandboxCreateParams } from "modal";
import { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxSpec } from "../contract/sandbox.ts";
import { SandboxError } from "./provider.ts";

/** Modal's own bound on names. */
const NAME_CHARACTERS_MAX = 63;
const TAG = { owner: "perdure_owner", sandbox: "perdure_sandbox", madeAt: "perdure_made_at" } as const;

/** The same for one id and owner in every process; two installations that share an app do not meet. */
export function modalName(id: SandboxId, owner: string): string {
  const checked = SandboxId.safeParse(id);
  if (!checked.success) throw new SandboxError("denied", "that is no id of a sandbox");
  const digest = createHash("sha256").update(`${owner}\0${id}`).digest("hex").slice(0, 12);
  return `${id.slice(0, NAME_CHARACTERS_MAX - digest.length - 1)}-${digest}`;
}

export function ownerTags(owner: string): Record<string, string> {
  return { [TAG.owner]: owner };
}

/** Whose sandbox it is; undefined when the tags are not ours. */
export function readTags(
  tags: Readonly<Record<string, string>>,
): { readonly id: SandboxId; readonly madeAt: number | undefined } | undefined {
  const id = SandboxId.safeParse(tags[TAG.sandbox]);
  const madeAt = Number(tags[TAG.madeAt]);
  return id.success
    ? { id: id.data, madeAt: Number.isSafeInteger(madeAt) && madeAt > 0 ? madeAt : undefined }
    : undefined;
}

export interface CreateRequest {
  readonly id: SandboxId;
  readonly owner: string;
  readonly spec: SandboxSpec;
  readonly lifeMs: number;
  readonly now: number;
}

/** Throws SandboxError `failed` when Modal cannot hold what the spec says. */
export function createParams({ id, owner, spec, lifeMs, now }: CreateRequest): SandboxCreateParams {
  const life = Math.min(wholeSeconds(lifeMs), LIMITS.modalLifeMs.max);
  const idle = wholeSeconds((spec.idleTimeoutMs ?? LIMITS.sandboxIdleMs.default) + LIMITS.modalIdleMarginMs);
  return {
    name: modalName(id, owner),
    tags: { ...ownerTags(owner), [TAG.sandbox]: id, [TAG.madeAt]: String(now) },
    timeoutMs: life,
    idleTimeoutMs: Math.min(idle, life),
    ...(spec.cpu === undefined ? {} : { cpu: spec.cpu, cpuLimit: spec.cpu }),
    ...(spec.memoryMiB === undefined ? {} : { memoryMiB: spec.memoryMiB, memoryLimitMiB: spec.memoryMiB }),
    ...(spec.ports?.length ? { encryptedPorts: [...spec.ports] } : {}),
    ...(spec.environment ? { env: { ...spec.environment } } : {}),
    ...networkParams(spec),
  };
}

/** The SDK takes whole seconds only. */
function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000)) * 1_000;
}

type NetworkParams = Pick<SandboxCreateParams, "blockNetwork" | "outboundCidrAllowlist" | "outboundDomainAllowlist">;

function networkParams({ network, ports }: SandboxSpec): NetworkParams {
  const allowed = network?.allow ?? [];
  // A blocked network has no tunnels either; an empty list leaves them and lets nothing out.
  if (allowed.length === 0) return ports?.length ? { outboundCidrAllowlist: [] } : { blockNetwork: true };
  return { outboundDomainAllowlist: allowed.map(allowedDomain) };
}

/** Modal lets through by name, for HTTPS: nothing there says "this address on this port". */
function allowedDomain(host: string): string {
  const [, name = host, port] = /^(.*?)(?::(\d+))?$/.exec(host) ?? [];
  if (host.startsWith("[") || isIPv4(name)) {
    throw new SandboxError("failed", `Modal cannot allow the address ${host} alone on its ports: name a host instead`);
  }
  if (port !== undefined && port !== "443") {
    throw new SandboxError("failed", `Modal allows hosts on port 443 only: ${host} cannot be allowed`);
  }
  return name;
}
