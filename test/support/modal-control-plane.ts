/** The Modal stand-in's control plane: tokens, apps, images, secrets, and the sandboxes' lives. */
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { type Faults, StatusError } from "./modal-faults.ts";
import { ENDED, type SandboxDefinition, type Sandboxes, type StoodIn, type Tag } from "./modal-sandboxes.ts";
import { environmentOf, type SecretSource, type UnaryMaker } from "./modal-wire.ts";

const LIST_PAGE = 100;
const TOKEN_SECONDS = 3_600;

interface SandboxRef {
  readonly sandboxId: string;
}
interface NameRequest {
  readonly appName: string;
  readonly sandboxName: string;
  readonly includeTerminated: boolean;
}
interface CreateRequest {
  readonly appId: string;
  readonly definition: SandboxDefinition;
  readonly tags: readonly Tag[];
  readonly secretSources: readonly SecretSource[];
}
interface ListRequest {
  readonly appId: string;
  readonly beforeTimestamp: number;
  readonly tags: readonly Tag[];
}

export interface ControlPlaneDeps {
  readonly sandboxes: Sandboxes;
  readonly faults: Faults;
  readonly unary: UnaryMaker;
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The router's address. It must say https: the SDK refuses another, and dials a loopback one in the clear all the same. */
  readonly routerUrl: string;
}

export function controlPlane({
  sandboxes,
  faults,
  unary,
  secrets,
  routerUrl,
}: ControlPlaneDeps): UntypedServiceImplementation {
  const access = () => ({ jwt: token(), url: routerUrl });
  const isTaskLate = () => faults.awaits("SandboxGetTaskIdV2");

  return {
    AuthTokenGet: unary("AuthTokenGet", () => ({ token: token() })),
    AppGetOrCreate: unary("AppGetOrCreate", ({ appName }: { readonly appName: string }) => ({
      appId: appIdOf(appName),
    })),
    EnvironmentGetOrCreate: unary("EnvironmentGetOrCreate", () => ({
      environmentId: "en-1",
      metadata: { name: "main", settings: { imageBuilderVersion: "2025.06" } },
    })),
    ImageGetOrCreate: unary("ImageGetOrCreate", ({ image }: { image: { dockerfileCommands: readonly string[] } }) => {
      const dockerfile = image.dockerfileCommands.join("\n");
      if (dockerfile.includes("no-such-image"))
        return { imageId: "im-x", result: { status: 2, exception: "no such image" } };
      return { imageId: sandboxes.imageNamed(dockerfile), result: { status: 1 } };
    }),
    ImageFromId: unary("ImageFromId", ({ imageId }: { readonly imageId: string }) => {
      if (!sandboxes.hasImage(imageId)) throw new StatusError("NOT_FOUND", `image ${imageId} not found`);
      return { imageId };
    }),
    SecretGetOrCreate: unary("SecretGetOrCreate", ({ deploymentName }: { readonly deploymentName: string }) => {
      if (!(deploymentName in secrets)) throw new StatusError("NOT_FOUND", `secret '${deploymentName}' not found`);
      return { secretId: deploymentName };
    }),
    SandboxCreateV2: unary("SandboxCreateV2", ({ appId, definition, tags, secretSources }: CreateRequest) => {
      const environment = environmentOf(secretSources, secrets);
      const sandbox = sandboxes.create({ appId, definition, tags, environment });
      const task = isTaskLate() ? {} : { taskId: sandbox.taskId, commandRouterAccess: access() };
      return { sandboxId: sandbox.id, tunnels: tunnelsOf(sandbox), ...task };
    }),
    // The older kind of sandbox, of which there is none here.
    SandboxGetFromName: unary("SandboxGetFromName", () => {
      throw new StatusError("NOT_FOUND", "sandbox not found");
    }),
    SandboxGetFromNameV2: unary("SandboxGetFromNameV2", ({ appName, sandboxName, includeTerminated }: NameRequest) => ({
      sandboxId: sandboxes.byName(appIdOf(appName), sandboxName, { includeEnded: includeTerminated }).id,
    })),
    SandboxGetTaskIdV2: unary("SandboxGetTaskIdV2", ({ sandboxId }: SandboxRef) => {
      const { result, taskId } = sandboxes.byId(sandboxId);
      return result ? { taskResult: result } : { taskId };
    }),
    SandboxGetCommandRouterAccess: unary("SandboxGetCommandRouterAccess", ({ sandboxId }: SandboxRef) => {
      if (sandboxes.byId(sandboxId).result) throw new StatusError("NOT_FOUND", `sandbox ${sandboxId} has ended`);
      return access();
    }),
    SandboxWaitV2: unary("SandboxWaitV2", async ({ sandboxId, timeout }: SandboxRef & { timeout: number }, signal) => {
      const sandbox = sandboxes.byId(sandboxId);
      if (!sandbox.result && timeout > 0)
        await endOf(sandbox, AbortSignal.any([signal, AbortSignal.timeout(timeout * 1_000)]));
      return sandbox.result ? { result: sandbox.result } : {};
    }),
    SandboxTerminateV2: unary("SandboxTerminateV2", async ({ sandboxId }: SandboxRef) => {
      const sandbox = sandboxes.byId(sandboxId);
      const existing = sandbox.result;
      await sandboxes.end(sandbox, ENDED.terminated);
      return existing ? { existingResult: existing } : {};
    }),
    SandboxGetTunnelsV2: unary("SandboxGetTunnelsV2", ({ sandboxId }: SandboxRef) => ({
      result: { status: 1 },
      tunnels: tunnelsOf(sandboxes.byId(sandboxId)),
    })),
    SandboxListV2: unary("SandboxListV2", ({ appId, beforeTimestamp, tags }: ListRequest) => ({
      sandboxes: [...sandboxes.all()]
        .filter((one) => !one.result && one.appId === appId)
        .filter((one) => !beforeTimestamp || one.createdAt < beforeTimestamp)
        .filter((one) => tags.every((tag) => hasTag(one, tag)))
        .sort((a, b) => b.createdAt - a.createdAt)
        .slice(0, LIST_PAGE)
        .map(({ id, createdAt }) => ({ id, createdAt })),
    })),
    SandboxTagsGetV2: unary("SandboxTagsGetV2", ({ sandboxId }: SandboxRef) => ({
      tags: sandboxes.byId(sandboxId).tags,
    })),
  };
}

const appIdOf = (name: string): string => `ap-${name}`;

function token(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part({ exp: Math.floor(Date.now() / 1_000) + TOKEN_SECONDS })}.x`;
}

function tunnelsOf({ definition }: StoodIn): object[] {
  return (definition.openPorts?.ports ?? []).map(({ port }) => ({ host: "127.0.0.1", port, containerPort: port }));
}

function hasTag({ tags }: StoodIn, { tagName, tagValue }: Tag): boolean {
  return tags.some((tag) => tag.tagName === tagName && tag.tagValue === tagValue);
}

function endOf({ news }: StoodIn, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      news.off("end", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    news.on("end", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
