/** The provider `modal`: each sandbox is one at Modal, found again by its name, and lives on when the worker dies. */
import type { Sandbox as ModalSandbox } from "modal";
import type { SandboxId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import type { SandboxCapabilities, SandboxSpec } from "../contract/sandbox.ts";
import { createModalChannel } from "./modal-channel.ts";
import { createModalService, type ImageSource, type ModalAccount, type ModalService } from "./modal-client.ts";
import { createModalLink, type ModalLink } from "./modal-link.ts";
import { createParams, modalName, ownerTags, readTags } from "./modal-request.ts";
import { endModalTerminal, openModalTerminal } from "./modal-terminal.ts";
import type { OpenFrom, Sandbox, SandboxProvider } from "./provider.ts";
import { SandboxError } from "./provider.ts";
import {
  createRemoteSandbox,
  prepareRemoteSandbox,
  REMOTE_STATE,
  type RemoteSandboxOptions,
} from "./remote/remote-sandbox.ts";
import { trimRemoteCalls, turns } from "./remote/trim-remote-calls.ts";

export interface ModalProviderOptions extends ModalAccount {
  /** Which installation the sandboxes are of: its own are listed, and swept. */
  readonly owner: string;
  /** For a spec that names none. Anything that has `sh`. */
  readonly image?: string;
  /** After so long Modal ends a sandbox whatever it does. Default and most: a day. */
  readonly lifeMs?: number;
  /** Secrets of the Modal account that every sandbox gets, by name. */
  readonly secretNames?: readonly string[];
}

const CAPABILITIES: SandboxCapabilities = {
  isolation: "gvisor",
  memory: "modal",
  cpu: "modal",
  processes: "none",
  disk: "none",
  network: "allow-list",
  images: true,
  terminal: true,
  tunnels: true,
  snapshots: "provider",
  hostBound: false,
};
const DEFAULT_IMAGE = "debian:12";
const WORKSPACE = "/workspace";
/** Of sandboxes whose Modal id is remembered, which saves a question. */
const REMEMBERED_MAX = 1_000;
/** A name that is taken may not be found yet. */
const ADOPT = { attempts: 10, pauseMs: 300 } as const;

export interface ModalTokens {
  readonly tokenId?: string | undefined;
  readonly tokenSecret?: string | undefined;
}

/** Whether this worker can use Modal; nothing is asked of Modal for it. */
export function detectModal({ tokenId, tokenSecret }: ModalTokens): { works: true } | { works: false; reason: string } {
  const missing = [...(tokenId ? [] : ["MODAL_TOKEN_ID"]), ...(tokenSecret ? [] : ["MODAL_TOKEN_SECRET"])];
  if (missing.length === 0) return { works: true };
  return { works: false, reason: `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not set` };
}

/** Nothing is asked of Modal, and its SDK is not loaded, before the first use. */
export function createModalProvider(options: ModalProviderOptions): SandboxProvider {
  const service = createModalService(options);
  const remembered = new Map<SandboxId, string>();
  const rounds = turns();
  const nameOf = (id: SandboxId): string => modalName(id, options.owner);

  function remember(id: SandboxId, handle: ModalSandbox): ModalSandbox {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(id, handle.sandboxId);
    return handle;
  }

  /** The one of that id that runs. */
  async function look(id: SandboxId): Promise<ModalSandbox | undefined> {
    const name = nameOf(id);
    const known = remembered.get(id);
    const handle = known === undefined ? await service.named(name) : await service.handle(known);
    if (handle !== undefined && !(await service.hasEnded(handle))) return remember(id, handle);
    remembered.delete(id);
    // Another process may have made the next one of a name that we have known before.
    return known === undefined ? undefined : look(id);
  }

  async function make(id: SandboxId, spec: SandboxSpec, from: OpenFrom | undefined): Promise<ModalSandbox> {
    const params = createParams({
      ...{ id, owner: options.owner, spec, now: Date.now() },
      lifeMs: options.lifeMs ?? LIMITS.modalLifeMs.default,
    });
    const image: ImageSource = from
      ? { imageId: from.image }
      : { registry: spec.image ?? options.image ?? DEFAULT_IMAGE };
    for (let attempt = 1; ; attempt += 1) {
      const made = await service.create(image, params, options.secretNames ?? []);
      if (made !== "taken") return remember(id, made);
      // Another process made it, or we did and never heard of it.
      const found = await look(id);
      if (found) return found;
      if (attempt >= ADOPT.attempts)
        throw new SandboxError("failed", "Modal has a sandbox of that name and does not find it");
      await new Promise((resolve) => setTimeout(resolve, ADOPT.pauseMs));
    }
  }

  return {
    name: "modal",
    capabilities: CAPABILITIES,
    async open(id, spec = {}, from) {
      const found = await look(id);
      const { link, ...remote } = remoteOptions(id, found ?? (await make(id, spec, from)), service);
      try {
        // A place for it may have to be found first, and its image fetched.
        if (!found) await link.use("start the sandbox", async (handle) => begin(handle), LIMITS.sandboxOpenMs);
        await prepareRemoteSandbox(remote);
      } catch (error) {
        await remote.release();
        throw error;
      }
      return createRemoteSandbox(remote);
    },
    async find(id) {
      const found = await look(id);
      return found && createRemoteSandbox(remoteOptions(id, found, service));
    },
    async remove(id) {
      const found = await look(id);
      if (found) await service.terminate(found);
    },
    async list() {
      const tags = await service.tagsOf(ownerTags(options.owner));
      return tags.flatMap((one) => readTags(one) ?? []);
    },
    async tidy(isCommitted) {
      const tags = await service.tagsOf(ownerTags(options.owner));
      // So many in one go, and others the next time.
      for (const { id } of rounds(tags.flatMap((one) => readTags(one) ?? []))) {
        const found = await look(id);
        if (!found) continue;
        const { channel, release } = remoteOptions(id, found, service);
        try {
          await trimRemoteCalls(channel, REMOTE_STATE, isCommitted);
        } finally {
          release();
        }
      }
    },
  };
}

/** Resolves when a program can be run in it. */
async function begin(handle: ModalSandbox): Promise<void> {
  await (await handle.exec(["true"], { stdout: "ignore", stderr: "ignore" })).closeStdin();
}

interface Remote extends RemoteSandboxOptions {
  readonly link: ModalLink;
  release(): void;
}

function remoteOptions(id: SandboxId, first: ModalSandbox, service: ModalService): Remote {
  const link = createModalLink({ first, again: () => service.handle(first.sandboxId) });
  const channel = createModalChannel(link);
  return {
    ...{ id, link, channel, workspace: WORKSPACE, extras: extrasOf(link, channel) },
    release() {
      channel.close();
      link.close();
    },
  };
}

function extrasOf(
  link: ModalLink,
  channel: ReturnType<typeof createModalChannel>,
): Pick<Sandbox, "networkDecisions" | "snapshotImage" | "tunnels" | "openTerminal" | "endTerminal"> {
  return {
    // Modal decides outside the sandbox and does not say what it decided.
    networkDecisions: async (from) => ({ decisions: [], next: from }),
    async snapshotImage() {
      const options = { timeoutMs: LIMITS.sandboxOpenMs };
      const image = await link.use(
        "keep the sandbox",
        (handle) => handle.snapshotFilesystem(options),
        LIMITS.sandboxOpenMs,
      );
      return image.imageId;
    },
    async tunnels() {
      const tunnels = await link.use("say where its ports are", (handle) => handle.tunnels(LIMITS.modalExecMs));
      return Object.fromEntries(Object.entries(tunnels).map(([port, { url }]) => [Number(port), url]));
    },
    openTerminal: (options) => openModalTerminal({ link, channel, workspace: WORKSPACE }, options),
    endTerminal: (mark) => endModalTerminal(channel, mark),
  };
}
