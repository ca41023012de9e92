/**
 * Threads for work whose cost a stranger decides: reading a hostile command line, compiling a schema, running its patterns.
 *
 * The event loop only posts a task and gets an answer. A thread that passes its deadline, or its memory, is ended and
 * replaced. One session has at most one task running, and waits in a queue of its own for the next: it delays itself.
 */
import { Worker } from "node:worker_threads";
import { LIMITS } from "../contract/limits.ts";

export type Outcome<Answer> =
  | { readonly ended: "done"; readonly answer: Answer }
  /** `too_long`: the deadline. `too_many`: the queue is full. `failed`: the thread died of it, or it threw. */
  | { readonly ended: "too_long" | "too_many" | "failed" };

export interface PoolOptions {
  readonly program: URL;
  readonly threads?: number;
  readonly timeoutMs?: number;
}

/** What a thread says. */
export type ThreadMessage = { readonly type: "ready" } | { readonly type: "answer"; readonly answer: unknown };

interface Job {
  readonly task: unknown;
  readonly key: string;
  resolve(outcome: Outcome<unknown>): void;
}

interface Thread {
  readonly worker: Worker;
  isReady: boolean;
  job: Job | undefined;
  timer: NodeJS.Timeout | undefined;
}

export class ThreadPool {
  readonly #options: Required<PoolOptions>;
  readonly #threads = new Set<Thread>();
  /** By key, in the order in which they are next. */
  readonly #waiting = new Map<string, Job[]>();
  #waitingCount = 0;

  constructor({ program, threads = LIMITS.threads, timeoutMs = LIMITS.threadTaskMs }: PoolOptions) {
    this.#options = { program, threads, timeoutMs };
  }

  /** Never rejects. `key` is whose task it is. The task and its answer are copied. */
  run<Answer>(task: unknown, key: string): Promise<Outcome<Answer>> {
    return new Promise((resolve) => {
      const own = this.#waiting.get(key) ?? [];
      if (this.#waitingCount >= LIMITS.threadTasksWaiting || own.length >= LIMITS.threadTasksWaitingPerKey) {
        resolve({ ended: "too_many" });
        return;
      }
      const job: Job = { task, key, resolve: (outcome) => resolve(outcome as Outcome<Answer>) };
      this.#waiting.set(key, [...own, job]);
      this.#waitingCount += 1;
      this.#begin();
    });
  }

  /** Ends all threads; what runs or waits ends as failed. */
  async close(): Promise<void> {
    const left = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    this.#waitingCount = 0;
    for (const job of left) job.resolve({ ended: "failed" });
    await Promise.all([...this.#threads].map((thread) => this.#end(thread, { ended: "failed" })));
  }

  #begin(): void {
    for (;;) {
      const free = [...this.#threads].find(({ job }) => job === undefined);
      if (free === undefined && this.#threads.size >= this.#options.threads) return;
      const job = this.#next();
      if (job === undefined) return;
      this.#give(free ?? this.#start(), job);
    }
  }

  /** The first waiting job of a key that has none running; the key then goes behind all others. */
  #next(): Job | undefined {
    const running = new Set([...this.#threads].map(({ job }) => job?.key));
    for (const [key, jobs] of this.#waiting) {
      const [job, ...others] = jobs;
      if (job === undefined || running.has(key)) continue;
      this.#waiting.delete(key);
      if (others.length > 0) this.#waiting.set(key, others);
      this.#waitingCount -= 1;
      return job;
    }
    return undefined;
  }

  #start(): Thread {
    const worker = new Worker(this.#options.program, {
      env: {}, // Nothing of it is for what strangers wrote.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: LIMITS.threadMemoryMiB },
    });
    const thread: Thread = { worker, isReady: false, job: undefined, timer: undefined };
    worker.on("message", (message: ThreadMessage) => this.#hear(thread, message));
    worker.on("error", () => void this.#end(thread, { ended: "failed" }));
    worker.on("exit", () => void this.#end(thread, { ended: "failed" }));
    worker.unref();
    this.#threads.add(thread);
    return thread;
  }

  /** The time of a task begins when its thread has been loaded: that is our time, not the task's. */
  #give(thread: Thread, job: Job): void {
    thread.job = job;
    thread.worker.ref(); // Somebody waits for it.
    this.#limit(thread, thread.isReady ? this.#options.timeoutMs : LIMITS.threadStartMs);
    try {
      thread.worker.postMessage(job.task);
    } catch {
      void this.#end(thread, { ended: "failed" }); // It cannot be copied.
    }
  }

  #limit(thread: Thread, timeoutMs: number): void {
    clearTimeout(thread.timer);
    const due = performance.now() + timeoutMs;
    const isOver = (): void => {
      // All of this process stood still, its threads with it: what they did not have does not count.
      if (performance.now() - due > LIMITS.threadLateMs) this.#limit(thread, timeoutMs);
      else void this.#end(thread, { ended: "too_long" });
    };
    thread.timer = setTimeout(isOver, timeoutMs);
  }

  #hear(thread: Thread, message: ThreadMessage): void {
    if (message.type === "ready") {
      thread.isReady = true;
      if (thread.job !== undefined) this.#limit(thread, this.#options.timeoutMs);
      return;
    }
    const { job } = thread;
    clearTimeout(thread.timer);
    thread.job = undefined;
    thread.worker.unref();
    job?.resolve({ ended: "done", answer: message.answer });
    this.#begin();
  }

  async #end(thread: Thread, outcome: Outcome<unknown>): Promise<void> {
    if (!this.#threads.delete(thread)) return;
    clearTimeout(thread.timer);
    thread.job?.resolve(outcome);
    thread.job = undefined;
    this.#begin();
    await thread.worker.terminate();
  }
}
