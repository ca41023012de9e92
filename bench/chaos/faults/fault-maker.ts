/** Makes the faults of a schedule on a world, one loss at a time, and can put everything right again. */
import { setTimeout as delay } from "node:timers/promises";
import { identityOf, signalKnown } from "../../../cli/process-identity.ts";
import type { ProcessName } from "../../../cli/state-directory.ts";
import { processesOf } from "../../../test/support/stray-processes.ts";
import { scripted, type World } from "../../../test/support/world.ts";
import type { Weather } from "../client.ts";
import { BLOCKING_TOOL } from "./blocking-tool.ts";
import type { DatabaseCopies, DatabaseName } from "./database-copies.ts";
import type { ExternalTemporal } from "./external-temporal.ts";
import { describeFault, type Fault, type FaultType, type Loss, POWER_CUT_MS } from "./fault.ts";
import { boundedDisk, fillDisk, setHostName } from "./machine.ts";

/** How old a copy is that is restored. */
const RESTORED_AGE_MS = 60_000;
const COPY_EVERY_MS = 15_000;

export interface FaultMakerOptions {
  readonly world: World;
  readonly weather: Weather;
  readonly copies: DatabaseCopies;
  /** Where Temporal is not the stack's own, and so can be away. */
  readonly external: ExternalTemporal | undefined;
  readonly tell: (line: string) => void;
}

export class FaultMaker {
  readonly counts: Partial<Record<FaultType, number>> = {};
  readonly #options: FaultMakerOptions;
  /** What is to be put right, by whom it concerns. */
  readonly #pending = new Set<Promise<void>>();
  readonly #paused = new Map<number, string>();
  readonly #copying: NodeJS.Timeout;
  #isRestarting = false;
  #number = 0;

  constructor(options: FaultMakerOptions) {
    this.#options = options;
    this.#copying = setInterval(() => void this.#keepCopies(), COPY_EVERY_MS).unref();
    void this.#keepCopies();
  }

  /** The faults that can be made here, and why the others cannot. */
  static able(external: boolean): { readonly types: ReadonlySet<FaultType>; readonly skipped: readonly string[] } {
    const inPlace = boundedDisk() !== undefined;
    const types: FaultType[] = ["pause", "block", "power", "restore"];
    if (external) types.push("outage");
    if (inPlace) types.push("host", "disk");
    const skipped = [
      ...(external ? [] : ["outages of Temporal (the stack supervises its own; --temporal external has them)"]),
      ...(inPlace ? [] : ["another host name and a full disk (they need Linux, root and unshare)"]),
    ];
    return { types: new Set(types), skipped };
  }

  /** Kills a Temporal that is not the stack's own, and starts it again at once. */
  get killTemporal(): (() => Promise<void>) | undefined {
    const { external } = this.#options;
    if (!external) return undefined;
    return async () => {
      await external.kill();
      await external.start();
    };
  }

  /** Resolves when the next strike may come: at once for what goes on beside others. */
  async make(fault: Fault): Promise<void> {
    this.#options.tell(describeFault(fault));
    this.counts[fault.type] = (this.counts[fault.type] ?? 0) + 1;
    switch (fault.type) {
      case "pause":
        return this.#pause(fault.name, fault.forMs);
      case "outage":
        return await this.#outage(fault.forMs);
      case "block":
        return this.#block(fault.forMs);
      case "host":
        return await this.#renameHost();
      default:
        return await this.#lose(fault);
    }
  }

  /** Ends every pause, and waits for what goes on. */
  async settle(): Promise<void> {
    this.#continueAll();
    await Promise.all(this.#pending);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#copying);
    await this.settle();
  }

  #pause(name: ProcessName, forMs: number): void {
    const { world, external, weather } = this.#options;
    const pid =
      name === "temporal" && external ? external.pid : world.processes().find((entry) => entry.name === name)?.pid;
    const identity = pid === undefined ? undefined : identityOf(pid);
    if (pid === undefined || identity === undefined || this.#paused.has(pid)) return;
    process.kill(pid, "SIGSTOP");
    this.#paused.set(pid, identity);
    const timer = setTimeout(() => {
      this.#continue(pid);
      weather.lastStormAt = Date.now();
    }, forMs);
    timer.unref();
  }

  #continue(pid: number): void {
    const identity = this.#paused.get(pid);
    this.#paused.delete(pid);
    if (identity !== undefined) signalKnown({ pid, identity }, "SIGCONT");
  }

  #continueAll(): void {
    for (const pid of [...this.#paused.keys()]) this.#continue(pid);
  }

  async #outage(forMs: number): Promise<void> {
    const { external, weather } = this.#options;
    // Nobody hangs who waits for a server that is not there yet, however long it takes to come back.
    const storming = setInterval(() => {
      weather.lastStormAt = Date.now();
    }, 1_000);
    try {
      await external?.kill();
      await delay(forMs);
      await external?.start();
    } finally {
      clearInterval(storming);
    }
  }

  /** A session of its own has a tool called that keeps the loop. It need not answer: whoever waits for it would hang, too. */
  #block(ms: number): void {
    const { world, weather } = this.#options;
    const id = `blocker-${this.#number++}`;
    const policy = { default: "allow" as const };
    const message = scripted({ tools: [{ name: BLOCKING_TOOL, args: { ms } }] }, { text: "done" });
    const blocking = (async () => {
      const made = { id, agent: { tools: [BLOCKING_TOOL], policy }, message };
      const ended = await world.request("POST", "/v1/sessions", made).catch(() => undefined);
      if (!ended || ended.status >= 300) return;
      await delay(ms);
      weather.lastStormAt = Date.now();
      for (let tries = 0; tries < 100; tries++) {
        const closed = await world.request("POST", `/v1/sessions/${id}/close`, {}).catch(() => undefined);
        if (closed && closed.status < 500) return;
        await delay(300);
      }
    })();
    this.#follow(blocking);
  }

  async #renameHost(): Promise<void> {
    await this.#whileDown(async () => setHostName(`chaos-${this.#number++}`));
  }

  async #lose(loss: Loss): Promise<void> {
    switch (loss.type) {
      case "power":
        return await this.#cutPower(loss.storeMs, loss.temporalMs);
      case "restore":
        return await this.#restore(loss.of === "both" ? ["store", "temporal"] : [loss.of]);
      case "disk":
        return await this.#fill(loss.forMs);
    }
  }

  async #cutPower(storeMs: number, temporalMs: number): Promise<void> {
    const { copies, world } = this.#options;
    this.#continueAll();
    const later = async (name: DatabaseName, backMs: number): Promise<string> => {
      await delay(POWER_CUT_MS - backMs);
      return await copies.take(name);
    };
    const [store, temporal] = await Promise.all([later("store", storeMs), later("temporal", temporalMs)]);
    await this.#whileDown(async () => {
      // Nothing survives it, the commands of sandboxes neither.
      for (const pid of processesOf(`${world.stateDir}/sandboxes`)) kill(pid);
      copies.put("store", store);
      copies.put("temporal", temporal);
      this.#lost(true);
    });
  }

  async #restore(names: readonly DatabaseName[]): Promise<void> {
    const { copies } = this.#options;
    const chosen = names.flatMap((name) => {
      const copy = copies.ofAge(name, RESTORED_AGE_MS);
      return copy === undefined ? [] : [{ name, copy }];
    });
    await this.#whileDown(async () => {
      for (const { name, copy } of chosen) copies.put(name, copy);
      this.#lost(names.includes("store"));
    });
  }

  async #fill(forMs: number): Promise<void> {
    const disk = boundedDisk();
    if (disk === undefined) return;
    this.#lost(false);
    const empty = fillDisk(disk);
    await delay(forMs).finally(empty);
    this.#lost(false);
  }

  /** Sessions that live now are judged more mildly. */
  #lost(ofStore: boolean): void {
    const { weather } = this.#options;
    weather.losses += 1;
    if (ofStore) weather.storeLosses += 1;
    weather.lastStormAt = Date.now();
  }

  async #whileDown(work: () => Promise<void>): Promise<void> {
    const { world, external } = this.#options;
    this.#isRestarting = true;
    try {
      this.#continueAll();
      await world.stop("kill");
      await external?.kill();
      await work();
      await external?.start();
      await world.start();
    } finally {
      this.#isRestarting = false;
    }
  }

  async #keepCopies(): Promise<void> {
    if (this.#isRestarting) return;
    await this.#options.copies.keep().catch(() => undefined); // A full disk, or a stack that is just down: the next one.
  }

  #follow(work: Promise<void>): void {
    const followed = work.finally(() => this.#pending.delete(followed));
    this.#pending.add(followed);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
