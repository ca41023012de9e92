/** The sandboxes and images of the Modal stand-in: what was asked for, where it runs, how it ended. */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import type { Exec } from "./modal-exec.ts";
import { StatusError } from "./modal-faults.ts";
import { makePlace, type Place } from "./modal-place.ts";

/** Statuses of Modal's GenericResult. */
export const ENDED = { terminated: 3, timeout: 4, internal: 6 } as const;

export interface SandboxDefinition {
  readonly name: string;
  readonly imageId: string;
  readonly timeoutSecs: number;
  readonly idleTimeoutSecs: number;
  readonly resources?: Readonly<Record<"memoryMb" | "memoryMbMax" | "milliCpu" | "milliCpuMax", number>>;
  readonly openPorts?: { readonly ports: readonly { readonly port: number; readonly unencrypted: boolean }[] };
  readonly networkAccess?: {
    readonly networkAccessType: number;
    readonly allowedCidrs: readonly string[];
    readonly allowedDomains: readonly string[];
  };
}

export interface Tag {
  readonly tagName: string;
  readonly tagValue: string;
}

export interface StoodIn {
  readonly id: string;
  readonly taskId: string;
  readonly appId: string;
  readonly definition: SandboxDefinition;
  readonly tags: readonly Tag[];
  readonly environment: Readonly<Record<string, string>>;
  /** Seconds since 1970. */
  readonly createdAt: number;
  readonly place: Promise<Place>;
  readonly execs: Map<string, Exec>;
  readonly folder: string;
  readonly news: EventEmitter;
  result?: { readonly status: number; readonly exitcode: number };
}

export interface Sandboxes {
  all(): readonly StoodIn[];
  create(request: Pick<StoodIn, "appId" | "definition" | "tags" | "environment">): StoodIn;
  /** Throws NOT_FOUND. */
  byId(id: string): StoodIn;
  /** Throws NOT_FOUND, also for one that has ended: its router is gone with it. */
  byTask(taskId: string): StoodIn;
  byName(appId: string, name: string, options: { readonly includeEnded: boolean }): StoodIn;
  end(sandbox: StoodIn, status: number): Promise<void>;
  /** Throws NOT_FOUND for an image that nobody made. */
  imageNamed(dockerfile: string): string;
  hasImage(id: string): boolean;
  snapshot(sandbox: StoodIn): Promise<string>;
  close(): Promise<void>;
}

export function createSandboxes(folder: string): Sandboxes {
  const sandboxes = new Map<string, StoodIn>();
  /** The folder that a sandbox of an image begins with; null: an empty one. */
  const images = new Map<string, string | null>();
  const timers = new Set<NodeJS.Timeout>();
  const newest = () => [...sandboxes.values()].reverse();
  const missing = (what: string) => new StatusError("NOT_FOUND", `${what} not found`);

  async function makeIn(root: string, definition: SandboxDefinition): Promise<Place> {
    await mkdir(root, { recursive: true });
    const image = images.get(definition.imageId);
    if (image) await copy(image, root);
    return await makePlace(root, { sharesNetwork: (definition.openPorts?.ports.length ?? 0) > 0 });
  }

  return {
    all: () => [...sandboxes.values()],
    create(request) {
      const { appId, definition } = request;
      if (!images.has(definition.imageId)) throw missing(`image ${definition.imageId}`);
      const isTaken = newest().some(
        (one) => one.appId === appId && one.definition.name === definition.name && !one.result,
      );
      if (definition.name && isTaken)
        throw new StatusError("ALREADY_EXISTS", `a sandbox named ${definition.name} runs`);
      const id = `sb-01${randomUUID()}`;
      const own = path.join(folder, id);
      const sandbox: StoodIn = {
        ...{ ...request, id, taskId: `ta-${randomUUID()}`, createdAt: Date.now() / 1_000, folder: own },
        ...{ place: makeIn(path.join(own, "root"), definition), execs: new Map(), news: new EventEmitter() },
      };
      sandbox.news.setMaxListeners(0);
      sandboxes.set(id, sandbox);
      const timer = setTimeout(() => void this.end(sandbox, ENDED.timeout), definition.timeoutSecs * 1_000).unref();
      timers.add(timer);
      // Whatever kills its first process ends the sandbox.
      sandbox.place
        .then((place) => place.dead)
        .then(
          () => this.end(sandbox, ENDED.internal),
          () => this.end(sandbox, ENDED.internal),
        );
      return sandbox;
    },
    byId: (id) => sandboxes.get(id) ?? raise(missing(`sandbox ${id}`)),
    byTask: (taskId) =>
      newest().find((one) => one.taskId === taskId && !one.result) ?? raise(missing(`task ${taskId}`)),
    byName(appId, name, { includeEnded }) {
      const named = newest().filter((one) => one.appId === appId && one.definition.name === name);
      return (
        named.find((one) => !one.result) ?? (includeEnded ? named[0] : undefined) ?? raise(missing(`sandbox ${name}`))
      );
    },
    async end(sandbox, status) {
      const isFirst = sandbox.result === undefined;
      sandbox.result ??= { status, exitcode: 0 };
      const place = await sandbox.place.catch(() => undefined);
      await place?.kill();
      if (!isFirst) return;
      for (const exec of sandbox.execs.values()) exec.close();
      await rm(sandbox.folder, { recursive: true, force: true, maxRetries: 3 });
      sandbox.news.emit("end");
    },
    imageNamed(dockerfile) {
      const id = `im-${Buffer.from(dockerfile).toString("hex").slice(0, 40)}`;
      images.set(id, null);
      return id;
    },
    hasImage: (id) => images.has(id),
    async snapshot(sandbox) {
      const id = `im-${randomUUID()}`;
      const kept = path.join(folder, id);
      await mkdir(kept);
      await copy((await sandbox.place).root, kept);
      images.set(id, kept);
      return id;
    },
    async close() {
      for (const timer of timers) clearTimeout(timer);
      await Promise.all(newest().map((one) => this.end(one, ENDED.terminated)));
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** With modes, links and times. What is mounted into a place is an empty folder to the host, so no system is copied. */
async function copy(from: string, to: string): Promise<void> {
  await promisify(execFile)("cp", ["-a", "--reflink=auto", `${from}/.`, to]);
}

function raise(error: Error): never {
  throw error;
}
