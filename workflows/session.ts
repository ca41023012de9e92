/**
 * The session workflow: one per session, alive until closed.
 *
 * It owns order (one turn at a time) and waiting (messages, stops, close). It never holds a transcript, an argument or
 * an output: activities read and write those by id, so history stays small and continue-as-new carries only `SessionState`.
 */
import { defineSearchAttributeKey, SearchAttributeType } from "@temporalio/common";
import {
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  log,
  setHandler,
  sleep,
  upsertSearchAttributes,
} from "@temporalio/workflow";
import { LIMITS } from "../contract/limits.ts";
import type { ForIncarnation, SessionStatus } from "../contract/session.ts";
import type { Configured, SessionAgent, TurnEnding } from "../contract/steps.ts";
import { ArtifactUploads } from "./artifact-uploads.ts";
import {
  answerQuestion,
  closeSession,
  decideApproval,
  getProgress,
  interruptTurn,
  removeMessage,
  type SessionInput,
  submitMessage,
  submitToolResult,
} from "./messages.ts";
import { local } from "./proxies.ts";
import { SandboxCare } from "./sandbox-care.ts";
import { SandboxRoute } from "./sandbox-route.ts";
import { isMeant, keyOf, refuseStranger } from "./session-identity.ts";
import {
  beginJoining,
  beginTurn,
  changeTurn,
  dropTurn,
  emptySession,
  endJoining,
  endTurn,
  progress,
  refusal,
  remove,
  type SessionState,
  take,
} from "./session-state.ts";
import { isLongHistory, runTurn, type TurnContext, type TurnEnd } from "./turn.ts";
import { Waits } from "./waiting.ts";

const STATUS = defineSearchAttributeKey("PerdureStatus", SearchAttributeType.KEYWORD);
const AGENT = defineSearchAttributeKey("PerdureAgent", SearchAttributeType.KEYWORD);
const WAITING_FOR = defineSearchAttributeKey("PerdureWaitingFor", SearchAttributeType.KEYWORD);

type StopReason = "interrupted" | "replaced" | "closed" | "timed_out";

export interface SessionRun extends SessionInput {
  readonly carried?: SessionState;
}

export async function session(input: SessionRun): Promise<void> {
  const run = new SessionWorkflow(input);
  await run.main();
}

class SessionWorkflow {
  readonly #input: SessionRun;
  #state: SessionState;
  readonly #running = new Set<string>();
  readonly #waits: Waits;
  /** The kinds of what is waited for, as the search attribute says them; empty when nothing is. */
  #waitingFor = "";
  #waitingSince = 0;
  /** As the newest step has told it. */
  #agent: SessionAgent;
  #scope: CancellationScope | undefined;
  #stop: StopReason | undefined;
  readonly #route: SandboxRoute;
  readonly #sandbox: SandboxCare;
  #isClosed = false;

  constructor(input: SessionRun) {
    this.#input = input;
    this.#agent = input.agent;
    this.#state = input.carried ?? emptySession;
    this.#waits = new Waits(input.sessionId, () => this.#waitsChanged());
    this.#route = new SandboxRoute(this.#state.sandboxQueue, (queue) => {
      const { sandboxQueue: _, ...rest } = this.#state;
      this.#state = queue === undefined ? rest : { ...rest, sandboxQueue: queue };
    });
    this.#sandbox = new SandboxCare({
      key: keyOf(input),
      route: this.#route,
      hasSandbox: () => this.#state.hasSandbox,
      setHasSandbox: (hasSandbox) => {
        this.#state = { ...this.#state, hasSandbox };
      },
    });
    this.#listen();
  }

  /** Handlers are set before the first await, because messages may be there before the main function runs. */
  #listen(): void {
    const validator = (of?: ForIncarnation): void => refuseStranger(this.#input, of);
    setHandler(
      submitMessage,
      (message) => {
        const { state, taken } = take(this.#state, message);
        const isNew = state !== this.#state;
        this.#state = state;
        if (isNew && message.mode === "interrupt") this.#stopTurn("replaced");
        return taken;
      },
      {
        validator: (message) => {
          validator(message);
          refuseIf(refusal(this.#state, message));
        },
      },
    );
    setHandler(
      removeMessage,
      ({ messageId }) => {
        const before = this.#state;
        this.#state = remove(before, messageId);
        const removed = progress(before, this.#now()).queue.some((waiting) => waiting.messageId === messageId);
        return { removed };
      },
      { validator },
    );
    for (const update of [decideApproval, answerQuestion, submitToolResult]) {
      setHandler(
        update,
        (ended) => {
          if (this.#state.turn) this.#waits.end(ended);
        },
        { validator },
      );
    }
    setHandler(interruptTurn, ({ turnId, ...of }) => {
      if (!isMeant(this.#input, of)) return;
      if (turnId === undefined || turnId === this.#state.turn?.turnId) this.#stopTurn("interrupted");
    });
    setHandler(closeSession, (of) => {
      if (!isMeant(this.#input, of)) return;
      this.#state = { ...this.#state, closing: true };
      this.#stopTurn("closed");
    });
    setHandler(getProgress, (of) => {
      validator(of);
      return progress(this.#state, this.#now());
    });
  }

  #now(): Parameters<typeof progress>[1] {
    return { running: [...this.#running], waits: this.#waits.list, isClosed: this.#isClosed };
  }

  #stopTurn(reason: StopReason): void {
    if (!this.#state.turn || this.#stop) return; // The first reason stands.
    this.#stop = reason;
    this.#scope?.cancel();
  }

  async main(): Promise<void> {
    try {
      await this.#loop();
    } catch (error) {
      // `temporal workflow cancel` means close: whatever ran has been ended by its own cancel.
      if (!isCancellation(error)) throw error;
      this.#state = { ...this.#state, closing: true };
    }
    await CancellationScope.nonCancellable(async () => {
      await this.#sandbox.ready();
      const summary = `close ${this.#agent.name}`;
      await this.#route.run((activities) =>
        activities.closeSession.executeWithOptions({ summary }, [keyOf(this.#input)]),
      );
      this.#isClosed = true;
      this.#announce("closed");
      await condition(allHandlersFinished);
    });
  }

  async #loop(): Promise<void> {
    for (;;) {
      if (!this.#state.turn) {
        await this.#untilWork();
        if (this.#state.closing) return;
        this.#state = beginTurn(this.#state, Date.now(), this.#agent.limits.turnTimeoutMs);
        this.#announce("running");
      }
      const isAtBoundary = await this.#turn();
      if (this.#state.closing && !this.#state.turn) return;
      if (!this.#state.turn && this.#state.queue.length === 0) this.#announce("idle");
      if (isAtBoundary || isLongHistory(LIMITS.historyEventsIdle)) {
        await this.#sandbox.ready();
        await condition(allHandlersFinished);
        const next: SessionRun = { ...this.#input, agent: this.#agent, carried: this.#state, keepsWorkspace: true };
        await continueAsNew<typeof session>(next);
      }
    }
  }

  async #untilWork(): Promise<void> {
    const hasWork = (): boolean => this.#state.closing || this.#state.queue.length > 0;
    const { sandboxIdleMs } = this.#agent;
    if (this.#input.keepsWorkspace && sandboxIdleMs !== undefined)
      await this.#sandbox.untilWork(hasWork, sandboxIdleMs);
    else await condition(hasWork);
  }

  /** Runs the turn until it has ended and said so, or until it is a good moment to continue as new (true). */
  async #turn(): Promise<boolean> {
    const { sessionId } = this.#input;
    const turn = this.#state.turn;
    if (!turn) throw new Error("#turn() needs a turn");
    const uploads = new ArtifactUploads({ sessionId, turnId: turn.turnId }, this.#route);
    const end = await this.#runStoppable(uploads);
    this.#waits.forget();
    if (end?.ended === "skipped") {
      this.#state = dropTurn(this.#state);
      this.#stop = undefined;
      return false;
    }
    if (end?.ended === "boundary" && !this.#stop) {
      await CancellationScope.nonCancellable(() => uploads.settle());
      if (!this.#stop) return true;
    }
    await CancellationScope.nonCancellable(async () => {
      // What a lost attempt had started is still running, when nobody was left to end it.
      const hasEndedWell = end?.ended === "completed";
      // A step that was stopped may have begun calls of its own that it could not tell of any more.
      const mayHaveRunTools =
        this.#state.turn?.hasRunTools === true || (this.#input.keepsWorkspace === true && !hasEndedWell);
      if (mayHaveRunTools && !hasEndedWell) {
        const key = { sessionId, turnId: turn.turnId };
        await this.#route
          .runBeside((activities) => activities.stopCalls.executeWithOptions({ summary: "end what still runs" }, [key]))
          .catch((error: unknown) =>
            log.warn("what a stopped turn left running was not ended", { error: String(error) }),
          );
      }
      if (mayHaveRunTools) uploads.start();
      await uploads.settle();
      const ending = this.#ending(end);
      const ended = await local.endTurn.executeWithOptions({ summary: ending.outcome }, [ending]);
      this.#state = endTurn(this.#state, ending.outcome, ended?.requeued);
      this.#stop = undefined;
      // After the turn's end is told, and before another begins to change what is to be kept.
      if (mayHaveRunTools && this.#input.keepsWorkspace && !this.#state.closing) await this.#sandbox.keep(turn.turnId);
    });
    return false;
  }

  /** The turn in a scope of its own, which a stop or its deadline cancels; undefined when that happened. */
  async #runStoppable(uploads: ArtifactUploads): Promise<TurnEnd | undefined> {
    const { sessionId } = this.#input;
    const turn = this.#state.turn;
    if (!turn || this.#stop) return undefined;
    const scope = new CancellationScope();
    const timer = new CancellationScope();
    this.#scope = scope;
    const timedOut = timer
      .run(() => this.#untilDeadline())
      .then(() => this.#stopTurn("timed_out"))
      .catch((error: unknown) => {
        if (!isCancellation(error)) throw error;
      });
    try {
      return await scope.run(() =>
        runTurn({
          sessionId,
          agent: () => this.#agent,
          turn: () => this.#state.turn ?? turn,
          change: (change) => {
            this.#state = changeTurn(this.#state, change);
          },
          running: this.#running,
          route: this.#route,
          startSandbox: () => {
            if (this.#agent.hasTools) this.#sandbox.start();
          },
          sandboxReady: () => this.#sandbox.ready(),
          artifactsChanged: () => uploads.start(),
          beginStep: () => this.#beginStep(),
          endStep: (news) => this.#endStep(news),
          hasSteering: () => (this.#state.turn?.steering?.length ?? 0) > 0,
          waitFor: (call, wait) => this.#waits.for(call, wait),
        }),
      );
    } catch (error) {
      // A worker that dies with a cancel on its way fails its activity instead: a stopped turn is stopped all the same.
      if (!isCancellation(error) && !this.#stop) return { ended: "failed", failure: unexpected(error) };
      if (!this.#stop) this.#stop = "closed"; // The workflow itself was cancelled.
      if (this.#stop === "closed") this.#state = { ...this.#state, closing: true };
      return undefined;
    } finally {
      this.#scope = undefined;
      timer.cancel();
      await timedOut;
    }
  }

  /** Sleeps until the turn's time is up. What it spends waiting for people is given back to it. */
  async #untilDeadline(): Promise<void> {
    do {
      await sleep(Math.max(1, (this.#state.turn?.deadline ?? 0) - Date.now()));
      if (!this.#waits.isEmpty) await condition(() => this.#waits.isEmpty);
    } while ((this.#state.turn?.deadline ?? 0) > Date.now());
  }

  #beginStep(): ReturnType<TurnContext["beginStep"]> {
    this.#waits.forget();
    this.#state = beginJoining(this.#state);
    const joining = this.#state.turn?.joining ?? [];
    const { configuration } = this.#state;
    return {
      ...(joining.length > 0 && { steer: joining.map(({ messageId }) => messageId) }),
      ...(configuration !== undefined && { configuration }),
      ...(this.#input.keepsWorkspace && { commands: true as const }),
    };
  }

  #endStep(news: Configured | undefined): void {
    this.#state = endJoining(this.#state);
    if (!news || !this.#state.turn) return;
    const longerMs = news.agent.limits.turnTimeoutMs - this.#agent.limits.turnTimeoutMs;
    this.#state = changeTurn(this.#state, { deadline: this.#state.turn.deadline + longerMs });
    this.#state = { ...this.#state, configuration: news.configuration };
    if (news.agent.name !== this.#agent.name) upsertSearchAttributes([{ key: AGENT, value: news.agent.name }]);
    this.#agent = news.agent;
  }

  /** Tells the search attributes, once per change of kind, and keeps the turn's clock still while somebody is waited for. */
  #waitsChanged(): void {
    const kinds = [...new Set(this.#waits.list.map(({ kind }) => kind))].sort().join(",");
    if (kinds === this.#waitingFor) return;
    if (this.#waitingFor === "") this.#waitingSince = Date.now();
    this.#waitingFor = kinds;
    const { turn } = this.#state;
    if (kinds === "" && turn) {
      this.#state = changeTurn(this.#state, { deadline: turn.deadline + Date.now() - this.#waitingSince });
    }
    upsertSearchAttributes([
      { key: STATUS, value: kinds === "" ? "running" : "waiting" },
      { key: WAITING_FOR, value: kinds === "" ? null : kinds },
    ]);
  }

  #ending(end: TurnEnd | undefined): TurnEnding {
    const turn = this.#state.turn;
    if (!turn) throw new Error("#ending() needs a turn");
    const late = [...(turn.joining ?? []), ...(turn.steering ?? [])].map(({ messageId }) => messageId);
    const ids = {
      sessionId: this.#input.sessionId,
      turnId: turn.turnId,
      messageId: turn.messageId,
      ...(late.length > 0 && { requeued: late }),
    };
    if (end?.ended === "completed") return { ...ids, outcome: "completed" };
    if (end?.ended === "failed") return { ...ids, outcome: "failed", failure: end.failure };
    if (this.#stop === "timed_out") {
      const message = `the turn took longer than ${this.#agent.limits.turnTimeoutMs} ms, the agent's limit turnTimeoutMs`;
      return { ...ids, outcome: "failed", failure: { code: "TIMEOUT", message, retryable: true } };
    }
    return { ...ids, outcome: "interrupted", reason: this.#stop ?? "interrupted" };
  }

  #announce(status: SessionStatus): void {
    upsertSearchAttributes([{ key: STATUS, value: status }]);
  }
}

/** An activity that failed for good without saying why in its result: ours to mend, but the session goes on. */
function unexpected(error: unknown): { code: "PROVIDER_ERROR"; message: string; retryable: boolean } {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
  return { code: "PROVIDER_ERROR", message: cause.slice(0, 500), retryable: true };
}

function refuseIf(reason: string | undefined): void {
  if (reason) throw ApplicationFailure.nonRetryable(reason, "Refused");
}
