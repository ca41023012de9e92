/** Whether some running worker can make the sandbox that an agent asks for, by what the workers announce. */
import type { Agent } from "../contract/agents.ts";
import type { WorkerAnnouncement } from "../contract/backends.ts";
import type { AnnouncedSandbox, SandboxSpec } from "../contract/sandbox.ts";
import { allowList } from "../sandbox/egress/allow-list.ts";
import { SandboxError } from "../sandbox/provider.ts";
import type { Fault } from "./input.ts";

/**
 * Faults of the agent's `sandbox`, with paths below it. None while no worker runs that says what it has: one that starts
 * later may have it, and the call that needs the sandbox says so if not.
 */
export function sandboxFaults({ sandbox: spec }: Agent, workers: readonly WorkerAnnouncement[]): readonly Fault[] {
  if (!spec) return [];
  const hosts = hostFaults(spec);
  if (hosts.length > 0) return hosts;
  const announced = workers.map(({ sandboxes }) => sandboxes).filter((sandboxes) => sandboxes.length > 0);
  const meant = announced.flatMap((sandboxes) =>
    sandboxes.filter(({ name, isDefault }) => (spec.provider === undefined ? isDefault : name === spec.provider)),
  );
  if (announced.length === 0) return [];
  const faults = meant.map((sandbox) => faultsOf(spec, sandbox));
  const [best] = faults.toSorted((a, b) => a.length - b.length);
  if (best) return best;
  const names = [...new Set(announced.flat().map(({ name }) => name))].join(", ");
  return [{ path: "/provider", message: `no running worker has ${spec.provider}; there are ${names}` }];
}

/** Entries that look like a host and are none that the proxy knows, such as an address in another notation. */
function hostFaults({ network }: SandboxSpec): readonly Fault[] {
  return (network?.allow ?? []).flatMap((entry, i): Fault[] => {
    try {
      allowList([entry]);
      return [];
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      return [{ path: `/network/allow/${i}`, message: error.message }];
    }
  });
}

function faultsOf(spec: SandboxSpec, { name, available, reason, capabilities }: AnnouncedSandbox): readonly Fault[] {
  if (!available || !capabilities) {
    return [{ path: "/provider", message: `${name} cannot be used by the running workers: ${reason ?? "unknown"}` }];
  }
  const faults: Fault[] = [];
  const refuse = (field: keyof SandboxSpec, words: string): void => {
    faults.push({ path: `/${field}`, message: `${name} ${words}` });
  };
  if (spec.image !== undefined && !capabilities.images) refuse("image", "makes sandboxes of no image; leave it out");
  if (spec.ports?.length && !capabilities.tunnels)
    refuse("ports", "has no tunnels: its ports are not reached from outside");
  if (spec.network && capabilities.network === "open") {
    refuse("network", "holds nothing back, so a list of allowed hosts would mean nothing; use another provider");
  }
  if (spec.network?.allow.length && capabilities.network === "none") {
    refuse("network", "gives its sandboxes no network as it is set up here");
  }
  return faults;
}
