/**
 * Workflows of sessions that are over: a Temporal whose database was set back runs those again that had ended since. They would
 * wait for messages for ever, so they are looked for now and then, and ended.
 */
import { LIMITS } from "../contract/limits.ts";
import type { Database } from "../store/database.ts";
import { openWorkflows } from "../store/session-places.ts";
import { Reconciler } from "./reconciler.ts";
import { isKind, type Sessions, type WorkflowRun } from "./sessions.ts";

export class LeftWorkflows implements AsyncDisposable {
  readonly #reach: { readonly database: Database; readonly sessions: Sessions };
  readonly #reconciler: Reconciler;
  #first: NodeJS.Timeout | undefined;

  constructor(reach: { readonly database: Database; readonly sessions: Sessions }, onError: (error: unknown) => void) {
    this.#reach = reach;
    this.#reconciler = new Reconciler(() => this.look(), onError);
  }

  start(): void {
    this.#reconciler.start(LIMITS.leftEveryMs);
    this.#first ??= setTimeout(() => void this.look().catch(() => undefined), LIMITS.leftFirstMs).unref();
  }

  /** Once over all that run. */
  async look(): Promise<void> {
    const { database, sessions } = this.#reach;
    try {
      const running = await sessions.running();
      const open = await openWorkflows(
        database,
        running.map(({ workflowId }) => workflowId),
      );
      for (const run of running) if (!open.has(run.workflowId)) await this.#end(run);
    } catch (error) {
      if (!isKind(error, "unreachable", "unanswered")) throw error;
    }
  }

  /** One that has ended meanwhile has done what it should. */
  async #end(run: WorkflowRun): Promise<void> {
    await this.#reach.sessions.end(run).catch((error: unknown) => {
      if (!isKind(error, "missing")) throw error;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#first);
    this.#reconciler[Symbol.dispose]();
    await this.#reconciler.running;
  }
}
