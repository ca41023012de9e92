/** What the routes work with, made once per process or test. */
import type { Logger } from "pino";
import type { WaitingProcess } from "../contract/http.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Store } from "../store/store.ts";
import { EventTail } from "../store/tail.ts";
import { AnswerBudget } from "./answer-budget.ts";
import { type ApiToken, Authentication } from "./authentication.ts";
import { BodyBudget } from "./body-budget.ts";
import { CallerShares } from "./caller-shares.ts";
import { CommandDelivery } from "./command-delivery.ts";
import { EDGE_BOUNDS, type EdgeBounds } from "./edge-bounds.ts";
import { EventStreams } from "./event-stream.ts";
import { IdleWatch } from "./idle-watch.ts";
import { LeftWorkflows } from "./left-workflows.ts";
import { MessageDelivery } from "./message-delivery.ts";
import { Metrics } from "./metrics.ts";
import { PacedCalls } from "./paced-calls.ts";
import { ProgressWatches } from "./progress-watch.ts";
import { SessionReconciler } from "./session-reconciler.ts";
import type { Sessions } from "./sessions.ts";
import { TerminalWatches } from "./terminal-watches.ts";
import { UnreadBytes } from "./unread.ts";
import { WaitDelivery } from "./wait-delivery.ts";

/** What comes from outside. */
export interface Outside {
  readonly store: Store;
  readonly sessions: Sessions;
  readonly logger: Logger;
  /** Undefined: whoever reaches the API may do everything. */
  readonly token: ApiToken | undefined;
  /** Processes of the same stack that cannot work before something else is there; without it nobody knows. */
  readonly waiting?: () => readonly WaitingProcess[];
  /** What callers may hold, and how slow they may be; as a rule EDGE_BOUNDS. */
  readonly bounds?: EdgeBounds;
}

export interface Dependencies extends Outside, AsyncDisposable {
  readonly authentication: Authentication;
  readonly bodies: BodyBudget;
  readonly answers: AnswerBudget;
  readonly unread: UnreadBytes;
  /** WebSockets. */
  readonly sockets: CallerShares;
  readonly bounds: EdgeBounds;
  readonly tail: EventTail;
  readonly metrics: Metrics;
  readonly streams: EventStreams;
  readonly progress: ProgressWatches;
  readonly delivery: MessageDelivery;
  readonly decisions: WaitDelivery;
  readonly commands: CommandDelivery;
  readonly terminals: TerminalWatches;
  readonly idle: IdleWatch;
  readonly agreement: SessionReconciler;
  readonly left: LeftWorkflows;
  /** Stops of turns that no row tells of yet. */
  readonly stops: PacedCalls;
}

/** Makes the rest. Disposing it stops what it began; the store and the gateway stay their owner's. */
export function createDependencies(outside: Outside): Dependencies {
  const { store, sessions, logger, bounds = EDGE_BOUNDS } = outside;
  const report = (what: string) => (error: unknown) => logger.error({ err: error }, what);
  const metrics = new Metrics();
  const tail = new EventTail(store.database, report("the event log cannot be followed"));
  const unread = new UnreadBytes();
  const streams = new EventStreams(metrics, unread, bounds);
  const progress = new ProgressWatches({ sessions, tail }, report("a session's progress cannot be watched"));
  const delivery = new MessageDelivery({ database: store.database, sessions }, report("a message was not delivered"));
  const decisions = new WaitDelivery(
    { database: store.database, sessions },
    { committed: () => tail.poke(), error: report("a decision was not delivered") },
  );
  const commands = new CommandDelivery({ database: store.database, sessions }, report("a command was not delivered"));
  const terminals = new TerminalWatches(store.database, report("terminals cannot be followed"));
  const idle = new IdleWatch({ database: store.database, sessions }, report("idle sandboxes cannot be stopped"));
  const agreement = new SessionReconciler(
    { database: store.database, sessions },
    report("a workflow and its rows cannot be brought together"),
  );
  const left = new LeftWorkflows({ database: store.database, sessions }, report("workflows that are left over stay"));
  const stops = new PacedCalls(LIMITS.stopEveryMs);
  return {
    ...outside,
    authentication: new Authentication(outside.token),
    bodies: new BodyBudget(store.folder, bounds),
    answers: new AnswerBudget(metrics, bounds),
    unread,
    sockets: new CallerShares(bounds.sockets),
    bounds,
    tail,
    metrics,
    streams,
    progress,
    delivery,
    decisions,
    commands,
    terminals,
    idle,
    agreement,
    left,
    stops,
    [Symbol.asyncDispose]: async () => {
      streams[Symbol.dispose]();
      progress[Symbol.dispose]();
      stops[Symbol.dispose]();
      await Promise.all(
        [delivery, decisions, commands, terminals, idle, agreement, left].map((one) => one[Symbol.asyncDispose]()),
      );
      await tail[Symbol.asyncDispose]();
    },
  };
}
