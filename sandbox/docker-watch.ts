/**
 * The watchers of containers: one for each that this process knows, for as long as it runs, whoever started what lives in it: a
 * command, a terminal, or what either has left. They hold the disk, and the free space of the engine's host where that is ours.
 *
 * An engine has no quota but on a few file systems. A single file is held by the kernel at the same size at all times (`fsize`),
 * memory and what lies in it (`/tmp`, `/dev/shm`) by its cgroup. A watcher ends with its worker: the next one's first sweep begins it anew.
 */
import { setTimeout as delay } from "node:timers/promises";
import type Docker from "dockerode";
import type { CallId } from "../contract/ids.ts";
import { createDockerChannel } from "./docker-channel.ts";
import { type DockerEngine, DockerError } from "./docker-engine.ts";
import { type ContainerUsage, usageOf } from "./docker-usage.ts";
import type { Sandbox } from "./provider.ts";

const PACE_MS = { idle: 2_000, resting: 500, growing: 125 } as const;
/** Measuring walks over all files, so it takes a part of the time only. */
const REST_TIMES = 20;
const REST_MS = 3_000;
/** Growth of what is too full already, and of a container on a disk that is almost full, is looked for from here on. */
const GROWTH_KIB = 1_024;
const KIB_PER_MIB = 1024;
const ASK_MS = 5_000;
const STRIKES = { all: 2, container: 5 } as const;
/** The first process, and the one that it waits for. */
const PROCESSES_IDLE = 2;
/** A member that the types of the client do not know. */
const ONE_SHOT: { stream: false } = Object.assign({ stream: false } as const, { "one-shot": true });

/** Tells every terminal, and kills all but the first process and itself. */
const END_ALL = `
for tty in /dev/pts/[0-9]*; do ( printf '\\r\\nperdure: %s; what ran was ended\\r\\n' "$1" >"$tty" ) 2>/dev/null & done
# They may wait for whoever reads the terminal.
sleep 0.2
kill -9 -1
`;
const TELL = 'echo "perdure: $1; the command was ended, what it wrote is still there" >>"$2"';

export interface WatchBounds {
  readonly diskMiB: number;
  readonly freeMiB: number;
}

interface Followed {
  readonly sandbox: Sandbox;
  readonly callId: CallId;
  readonly since: number;
}

export class DockerWatches {
  readonly #watches = new Map<string, DockerWatch>();

  /** Begun once, and ended with the container. */
  watch(engine: DockerEngine, container: Docker.ContainerInspectInfo, bounds: WatchBounds): DockerWatch {
    const id = container.Id;
    const known = this.#watches.get(id);
    if (known) return known;
    const watch = new DockerWatch(engine, id, bounds);
    this.#watches.set(id, watch);
    void watch.run(container).finally(() => this.#watches.delete(id));
    return watch;
  }

  has(container: string): boolean {
    return this.#watches.has(container);
  }
}

export class DockerWatch {
  readonly #engine: DockerEngine;
  readonly #container: string;
  readonly #diskKiB: number;
  readonly #floorKiB: number;
  readonly #followed = new Set<Followed>();
  #hurry = new AbortController();
  /** Until it was measured: what was there before us is nobody's doing. */
  #before = Number.POSITIVE_INFINITY;
  #last = 0;
  #dueAt = 0;
  #freeThen: number | undefined;
  /** When all files were looked at, the last time and the one before. */
  #measuredAt = 0;
  #measuredBefore = 0;
  /** Followed commands that were ended already. */
  readonly #ended = new WeakSet<Followed>();
  /** How often in a row it has grown although there was no command that could have done it. */
  #strikes = 0;

  constructor(engine: DockerEngine, container: string, { diskMiB, freeMiB }: WatchBounds) {
    this.#engine = engine;
    this.#container = container;
    this.#diskKiB = diskMiB * KIB_PER_MIB;
    this.#floorKiB = freeMiB * KIB_PER_MIB;
  }

  /** The same sandbox, whose commands are told when they are ended. */
  over(sandbox: Sandbox): Sandbox {
    const { openTerminal } = sandbox;
    const watch = this;
    return {
      ...sandbox,
      ...(openTerminal && {
        openTerminal: async (options) => {
          watch.#soon();
          return await openTerminal(options);
        },
      }),
      async *follow(callId, from, signal) {
        const followed = { sandbox, callId, since: Date.now() };
        watch.#followed.add(followed);
        watch.#soon();
        try {
          yield* sandbox.follow(callId, from, signal);
        } finally {
          watch.#followed.delete(followed);
        }
      },
    };
  }

  /** Resolves when the container does not run any more. Never rejects. */
  async run(container: Docker.ContainerInspectInfo): Promise<void> {
    const usage = await usageOf(this.#engine, container);
    for (let pace: number = PACE_MS.growing; ; ) {
      await this.#pause(pace);
      const living = await this.#living();
      if (living === "gone") return;
      pace = living ? await this.#look(usage).catch(() => PACE_MS.idle) : PACE_MS.idle;
    }
  }

  /** Something has begun that may grow. */
  #soon(): void {
    this.#hurry.abort();
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { ref: false, signal: this.#hurry.signal }).catch(() => undefined);
    if (this.#hurry.signal.aborted) this.#hurry = new AbortController();
  }

  /** Whether anything runs in it besides what it idles with. An engine that cannot tell is asked again. */
  async #living(): Promise<boolean | "gone"> {
    try {
      const stats = await this.#ask("tell what runs in it", (docker) =>
        docker.getContainer(this.#container).stats(ONE_SHOT),
      );
      const count = stats.pids_stats?.current;
      if (count !== undefined && count > 0) return count > PROCESSES_IDLE;
      const { State } = await this.#ask("tell of it", (docker) => docker.getContainer(this.#container).inspect());
      return State.Running ? true : "gone";
    } catch (error) {
      return error instanceof DockerError && error.status === 404 ? "gone" : false;
    }
  }

  /** One look; returns when the next one should come. */
  async #look(usage: ContainerUsage): Promise<number> {
    const free = await usage.free();
    const shrunk = Math.max(0, (this.#freeThen ?? 0) - (free ?? 0));
    const left = Math.max(this.#diskKiB - this.#last, GROWTH_KIB);
    const isLow = free !== undefined && free < this.#floorKiB;
    if (Date.now() >= this.#dueAt || shrunk >= left) await this.#measure(usage, free);
    else if (isLow && shrunk > GROWTH_KIB) {
      const was = this.#last;
      await this.#measure(usage, free);
      if (this.#last - was > GROWTH_KIB) await this.#end("the host's disk is almost full");
    }
    const isCalm = shrunk < left / 8 && (free ?? Number.POSITIVE_INFINITY) >= this.#floorKiB * 2;
    return free === undefined || isCalm ? PACE_MS.resting : PACE_MS.growing;
  }

  async #measure(usage: ContainerUsage, free: number | undefined): Promise<void> {
    const at = Date.now();
    const used = await usage.used();
    this.#dueAt = Date.now() + Math.max(PACE_MS.resting, Math.min(REST_TIMES * (Date.now() - at), REST_MS));
    if (used === undefined) return;
    this.#last = used;
    this.#freeThen = free;
    [this.#measuredBefore, this.#measuredAt] = [this.#measuredAt, at];
    // In one that is too full already something may be cleaning up, for which a little room is needed.
    if (used <= this.#diskKiB || used < this.#before) {
      this.#before = used;
      this.#strikes = 0;
    } else if (used > Math.max(this.#diskKiB, this.#before + GROWTH_KIB)) {
      this.#before = used;
      await this.#end(`the sandbox has written more than its ${this.#diskKiB / KIB_PER_MIB} MiB`);
    }
  }

  /**
   * Commands first that were there when it was less. Where there is none, or it went on: all that lives in it, but only when it
   * grows again, as what had grown may have ended, and the next command have begun. Then, when that did not help, the container.
   */
  async #end(why: string): Promise<void> {
    this.#dueAt = Date.now() + PACE_MS.resting;
    const wasThere = (one: Followed): boolean => one.since <= this.#measuredBefore;
    const followed = [...this.#followed].filter((one) => wasThere(one) && !this.#ended.has(one));
    for (const one of followed) await this.#endCommand(one, why);
    if (followed.length > 0) return;
    this.#strikes += 1;
    if (this.#strikes < STRIKES.all) return;
    // One that has begun since ends with all the others, and is told as well.
    for (const one of this.#followed) if (!this.#ended.has(one)) await this.#endCommand(one, why);
    if (this.#strikes < STRIKES.container) await this.#inside(END_ALL, why);
    else await this.#ask("end it", (docker) => docker.getContainer(this.#container).kill()).catch(() => undefined);
  }

  async #endCommand(one: Followed, why: string): Promise<void> {
    this.#ended.add(one);
    await this.#inside(TELL, why, one.sandbox.spoolPath(one.callId, "stderr"));
    await one.sandbox.kill(one.callId).catch(() => undefined);
  }

  async #inside(script: string, ...args: readonly string[]): Promise<void> {
    const argv = ["sh", "-c", script, "perdure", ...args];
    try {
      const channel = createDockerChannel(this.#engine, this.#container);
      await (await channel.exec(argv, { signal: AbortSignal.timeout(ASK_MS) })).exit;
    } catch {
      // It was killed with the others, or has no shell any more: the next look will tell.
    }
  }

  #ask<T>(what: string, request: (docker: Docker) => Promise<T>): Promise<T> {
    return this.#engine.call(what, request, ASK_MS);
  }
}
