/**
 * The session workflow: one per session, alive until closed.
 *
 * It owns order (one turn at a time) and waiting (messages, stops, close). It never holds a transcript, an argument or
 * an output: activities read and write those by id, so history stays small and continue-as-new carries only `SessionState`.
 */
import {
  allHandlersFinished,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  setHandler,
} from "@temporalio/workflow";
import { LIMITS } from "../contract/limits.ts";
import type { ForIncarnation } from "../contract/session.ts";
import type { SessionAgent } from "../contract/steps.ts";
import { announceAgent, announceStatus, announceWaiting } from "./announcing.ts";
import { ArtifactUploads } from "./artifact-uploads.ts";
import { watchDeadline } from "./deadline.ts";
import {
  answerQuestion,
  closeSession,
  decideApproval,
  getProgress,
  interruptTurn,
  removeMessage,
  submitMessage,
  submitToolResult,
} from "./messages.ts";
import { endedOrParked } from "./parking.ts";
import { commit } from "./proxies.ts";
import { beginAnew, EarlyStops, isOvertaken, recover, restored } from "./recovery.ts";
import { SandboxCare } from "./sandbox-care.ts";
import { SandboxRoute } from "./sandbox-route.ts";
import { closingKey, isMeant, isOnRequest, keyOf, refuseIf, refuseStranger } from "./session-identity.ts";
import { nextRun, type SessionRun } from "./session-run.ts";
import {
  beginJoining,
  beginTurn,
  type CallToRun,
  carryCalls,
  change,
  changeTurn,
  dropTurn,
  emptySession,
  endJoining,
  endTurn,
  pauseClock,
  progress,
  refusal,
  remove,
  type SessionState,
  type StopReason,
  stopTurn,
  take,
} from "./session-state.ts";
import { isGrownHistory, isLongHistory, runTurn, type TurnContext, type TurnEnd } from "./turn.ts";
import { turnEnding, unexpected } from "./turn-ending.ts";
import { TurnUpkeep } from "./turn-upkeep.ts";
import { kindsOf, Waits } from "./waiting.ts";

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
  /** Calls of the step that have not ended. */
  readonly #open = new Set<CallToRun>();
  /** As the newest step has told it. */
  #agent: SessionAgent;
  #scope: CancellationScope | undefined;
  readonly #route: SandboxRoute;
  readonly #sandbox: SandboxCare;
  readonly #upkeep: TurnUpkeep;
  /** The turn's waits are asleep, to go on in the next run. */
  #isParked = false;
  #isClosed = false;
  /** Set while it is not known yet what runs. */
  readonly #early: EarlyStops | undefined;

  constructor(input: SessionRun) {
    this.#input = input;
    this.#agent = input.agent;
    this.#state = input.carried ?? emptySession;
    this.#early = input.recovers && !input.carried ? new EarlyStops() : undefined;
    const [{ sessionId }, isBeside] = [input, input.continuesAnywhere === true];
    this.#waitingFor = kindsOf((this.#state.turn?.calls ?? []).flatMap(({ wait }) => wait ?? []));
    this.#waits = new Waits({ run: input, ended: this.#state.turn?.ended ?? [] }, () => this.#waitsChanged());
    this.#route = new SandboxRoute(this.#state.sandboxQueue, (sandboxQueue) => {
      this.#state = change(this.#state, { sandboxQueue });
    });
    this.#sandbox = new SandboxCare({
      key: keyOf(input),
      route: this.#route,
      state: () => this.#state,
      change: (by) => {
        this.#state = change(this.#state, by);
      },
      isBeside,
    });
    this.#upkeep = new TurnUpkeep({ sessionId, route: this.#route, state: () => this.#state, isBeside });
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
        if (isNew && message.mode === "interrupt") {
          this.#early?.note("replaced");
          this.#stopTurn("replaced");
        }
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
      setHandler(update, (ended) => void (this.#state.turn && this.#waits.end(ended)), { validator });
    }
    setHandler(interruptTurn, ({ turnId, ...of }) => {
      if (!isMeant(this.#input, of)) return;
      this.#early?.note("interrupted", turnId);
      if (turnId === undefined || turnId === this.#state.turn?.turnId) this.#stopTurn("interrupted");
    });
    setHandler(closeSession, (of) => {
      if (isMeant(this.#input, of)) this.#close();
    });
    // `temporal workflow cancel` means close, also when it comes where nothing is awaited that it could end.
    CancellationScope.current().cancelRequested.catch(() => this.#cancel());
    setHandler(getProgress, (of) => {
      validator(of);
      return progress(this.#state, this.#now());
    });
  }

  #now(): Parameters<typeof progress>[1] {
    return { running: [...this.#running], waits: this.#waits.list, isClosed: this.#isClosed };
  }

  get #stop(): StopReason | undefined {
    return this.#state.turn?.stop;
  }

  #cancel(): void {
    this.#state = { ...this.#state, cancelled: true };
    this.#close();
  }

  #close(): void {
    this.#state = { ...this.#state, closing: true };
    this.#stopTurn("closed");
  }

  /** Part of the state, because it may come just when the session continues as new. */
  #stopTurn(reason: StopReason): void {
    const before = this.#state;
    this.#state = stopTurn(before, reason);
    if (this.#state !== before) this.#scope?.cancel();
  }

  async main(): Promise<void> {
    try {
      if (!(await this.#recover())) return;
      await this.#loop();
    } catch (error) {
      // `temporal workflow cancel` means close: whatever ran has been ended by its own cancel.
      if (!isCancellation(error)) throw error;
      this.#state = { ...this.#state, closing: true, cancelled: true };
    }
    await CancellationScope.nonCancellable(async () => {
      await this.#sandbox.readyOrLate();
      const summary = `close ${this.#agent.name}`;
      const key = closingKey(this.#input, this.#state);
      const ended = await this.#route.run((activities) =>
        activities.closeSession.executeWithOptions({ summary }, [key]),
      );
      if (ended?.behind) await this.#beginAnew();
      this.#isClosed = true;
      announceStatus("closed");
      await condition(allHandlersFinished);
    });
  }

  /** False: there is no such session any more, or it is closed. */
  async #recover(): Promise<boolean> {
    if (!this.#early) return true;
    const recovered = await recover(this.#input);
    if (!recovered) return false;
    this.#agent = recovered.configured.agent;
    this.#state = restored(recovered, this.#state, { now: Date.now() });
    for (const reason of this.#early.meant(this.#state.turn?.turnId)) this.#stopTurn(reason);
    if (this.#state.turn) announceStatus("running");
    return true;
  }

  async #loop(): Promise<void> {
    void this.#sandbox.goOn();
    for (;;) {
      if (!this.#state.turn) {
        await this.#untilWork();
        if (this.#state.closing) return;
        if (this.#state.queue.length === 0) await this.#continue();
        this.#state = beginTurn(this.#state, Date.now(), this.#agent.limits.turnTimeoutMs);
        announceStatus("running");
      }
      const isAtBoundary = await this.#turn();
      if (this.#state.closing && !this.#state.turn) return;
      if (!this.#state.turn && this.#state.queue.length === 0) announceStatus("idle");
      if (isAtBoundary || this.#isLong(isLongHistory)) await this.#continue();
    }
  }

  /** Whether it is time for a new run, where no turn is. What goes on beside is let come to its end, unless it takes too long. */
  #isLong(isOver: (eventsMax: number) => boolean): boolean {
    if (!isOver(LIMITS.historyEventsIdle)) return false;
    return (
      !this.#input.continuesAnywhere || !(this.#sandbox.isBusy || this.#upkeep.isBusy) || isOver(LIMITS.historyEvents)
    );
  }

  /** Nothing of this run is left behind: all that its handlers change is in the state, up to the last line. */
  async #continue(): Promise<never> {
    if (!this.#input.continuesAnywhere) await this.#sandbox.ready();
    await condition(allHandlersFinished);
    const carried = carryCalls(this.#state, this.#isParked ? this.#waits.parked : undefined);
    return await continueAsNew<typeof session>(nextRun(this.#input, this.#agent, carried));
  }

  #beginAnew(): Promise<never> {
    return beginAnew({ ...this.#input, agent: this.#agent }, this.#sandbox);
  }

  async #untilWork(): Promise<void> {
    const isGrown = (): boolean => this.#input.continuesAnywhere === true && this.#isLong(isGrownHistory);
    const hasWork = (): boolean => this.#state.closing || this.#state.queue.length > 0 || isGrown();
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
    if (this.#isParked) return true;
    this.#waits.forget();
    if (end?.ended === "overtaken") await this.#beginAnew();
    if (end?.ended === "skipped") {
      this.#state = dropTurn(this.#state);
      return false;
    }
    if (end?.ended === "boundary" && !this.#stop) {
      await CancellationScope.nonCancellable(() => this.#upkeep.settleSoon(uploads));
      if (!this.#stop) return true;
    }
    await CancellationScope.nonCancellable(async () => {
      // What a lost attempt had started is still running, when nobody was left to end it.
      const hasEndedWell = end?.ended === "completed";
      // A step that was stopped may have begun calls of its own that it could not tell of any more.
      const mayHaveRunTools =
        this.#state.turn?.hasRunTools === true || (this.#input.keepsWorkspace === true && !hasEndedWell);
      if (mayHaveRunTools && !hasEndedWell) await this.#upkeep.stopCalls(turn.turnId);
      if (mayHaveRunTools) uploads.start();
      await this.#upkeep.settle(uploads);
      const [limits, onRequest] = [this.#agent.limits, isOnRequest(this.#input, this.#state)];
      const ending = turnEnding({ sessionId, turn: this.#state.turn ?? turn, end, limits, onRequest });
      const ended = await commit(this.#input, "endTurn", { summary: ending.outcome, of: ending });
      if (ended?.behind && this.#input.recovers) await this.#beginAnew();
      this.#state = endTurn(this.#state, ending.outcome, ended?.requeued);
      // After the turn's end is told, and beside whatever comes next.
      if (mayHaveRunTools && this.#input.keepsWorkspace && !this.#state.closing) await this.#sandbox.keep(turn.turnId);
    });
    return false;
  }

  /** The turn in a scope of its own, which a stop or its deadline cancels; undefined when that happened. */
  async #runStoppable(uploads: ArtifactUploads): Promise<TurnEnd | undefined> {
    const turn = this.#state.turn;
    if (!turn || this.#stop) return undefined;
    const scope = new CancellationScope();
    this.#scope = scope;
    const clock = { deadline: () => this.#state.turn?.deadline ?? 0, isWaiting: () => !this.#waits.isEmpty };
    const endWatch = watchDeadline(clock, () => this.#stopTurn("timed_out"));
    try {
      const running = scope.run(() =>
        runTurn({
          sessionId: this.#input.sessionId,
          agent: () => this.#agent,
          turn: () => this.#state.turn ?? turn,
          change: (change) => {
            this.#state = changeTurn(this.#state, change);
          },
          running: this.#running,
          open: this.#open,
          takeCalls: () => this.#takeCalls(),
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
      return await (this.#input.continuesAnywhere ? endedOrParked(running, () => this.#park(uploads)) : running);
    } catch (error) {
      // A worker that dies with a cancel on its way fails its activity instead: a stopped turn is stopped all the same.
      if (this.#input.recovers && !this.#stop && isOvertaken(error)) return { ended: "overtaken" };
      if (!isCancellation(error) && !this.#stop) return { ended: "failed", failure: unexpected(error) };
      if (!this.#stop) this.#cancel(); // The workflow itself was cancelled.
      return undefined;
    } finally {
      this.#scope = undefined;
      await endWatch();
    }
  }

  /** In the same instant in which nothing moves, so that nothing does any more. False: something does, or need not stop. */
  #park(uploads: ArtifactUploads): boolean {
    const isAsleep = this.#open.size > 0 && this.#waits.asleep === this.#open.size && this.#running.size === 0;
    if (!isAsleep || this.#stop || !allHandlersFinished()) return false;
    const isBusy = this.#sandbox.isBusy || this.#upkeep.isBusy || uploads.isBusy;
    if (!isGrownHistory(isBusy ? 2 * LIMITS.historyEvents : LIMITS.historyEvents)) return false;
    this.#waits.park();
    this.#isParked = true;
    return true;
  }

  #takeCalls(): readonly CallToRun[] {
    const calls = this.#state.turn?.calls ?? [];
    this.#state = carryCalls(this.#state, undefined);
    return calls;
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

  #endStep({ configured: news, late }: Parameters<TurnContext["endStep"]>[0]): void {
    this.#state = endJoining(this.#state, late);
    if (!news || !this.#state.turn) return;
    const longerMs = news.agent.limits.turnTimeoutMs - this.#agent.limits.turnTimeoutMs;
    this.#state = changeTurn(this.#state, { deadline: this.#state.turn.deadline + longerMs });
    this.#state = { ...this.#state, configuration: news.configuration };
    if (news.agent.name !== this.#agent.name) announceAgent(news.agent.name);
    this.#agent = news.agent;
  }

  /** Tells the search attributes, once per change of kind, and keeps the turn's clock still while somebody is waited for. */
  #waitsChanged(): void {
    const kinds = kindsOf(this.#waits.list);
    if (kinds === this.#waitingFor) return;
    this.#waitingFor = kinds;
    this.#state = pauseClock(this.#state, kinds !== "", Date.now());
    announceWaiting(kinds);
  }
}
