/** One turn, timed at a client: from the POST of its message to the end of its turn at an open stream. */
import type { AgentInput } from "../contract/agents.ts";
import { TURN_ENDS } from "../contract/events.ts";
import { type Arrival, type EventReader, now } from "../test/support/event-reader.ts";
import type { ScriptStep } from "../test/support/model-endpoint.ts";
import { type SessionClient, scripted, type World } from "../test/support/world.ts";

const TURN_DEADLINE_MS = 240_000;

/** What the bench needs of an agent: more steps and tokens than the defaults. */
const AGENT: AgentInput = {
  limits: { stepsPerTurn: 5_000, tokensPerTurn: 1_000_000_000_000 },
};

export interface TimedTurn {
  /** Just before the POST. */
  readonly postedAt: number;
  /** The events of this turn and its message, in order. */
  readonly arrivals: readonly Arrival[];
  readonly totalMs: number;
}

/** A session with its stream open and its sandbox made. */
export interface OpenSession {
  readonly client: SessionClient;
  readonly reader: EventReader;
}

/** Makes files of 2 bytes, 1 KB and 20 KB, so that reading them gives results of that size. */
const FILES = [
  "echo 1 > one.txt",
  "printf '%01023d\\n' 1 > kb1.txt",
  "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do printf '%01000d\\n' $i; done > kb20.txt",
].join("; ");

/** A new session that has had its first turn, so that its workflow, its sandbox, its files and its stream are there. */
export async function openSession(world: World, agent: AgentInput = {}): Promise<OpenSession> {
  const session = await openIdleSession(world, agent);
  await runTurn(session, { tools: [{ name: "bash", args: { command: FILES } }] }, { text: "ready" });
  return session;
}

/** A new session with its stream, before its first turn. */
export async function openIdleSession(world: World, agent: AgentInput = {}): Promise<OpenSession> {
  const client = await world.createSession({ agent: { ...AGENT, ...agent } });
  const reader = client.stream();
  await reader.until("the stream is open", () => reader.connections.length > 0);
  return { client, reader };
}

export async function runTurn({ client, reader }: OpenSession, ...steps: readonly ScriptStep[]): Promise<TimedTurn> {
  const before = reader.arrivals.length;
  const postedAt = now();
  const { turnId } = await client.post(scripted(...steps));
  let looked = before;
  const end = await reader.until(
    `the end of ${turnId}`,
    () => {
      for (; looked < reader.arrivals.length; looked++) {
        const arrival = reader.arrivals[looked];
        if (arrival && TURN_ENDS.has(arrival.event.type)) return arrival;
      }
      return undefined;
    },
    TURN_DEADLINE_MS,
  );
  if (end.event.type !== "turn.completed") throw new Error(`the turn did not complete: ${end.json}`);
  return { postedAt, arrivals: reader.arrivals.slice(before), totalMs: end.at - postedAt };
}

/** A script's step that reads a file of that size, so often. */
export function reads(file: "one.txt" | "kb1.txt" | "kb20.txt", times: number): ScriptStep {
  return { tools: [{ name: "read_file", args: { path: file } }], times };
}

/** A script's step that runs a command, so often. */
export function runs(command: string, times: number): ScriptStep {
  return { tools: [{ name: "bash", args: { command } }], times };
}

/** When each step of a turn began at the client, in the order of the steps. */
export function stepStarts(turn: TimedTurn): readonly number[] {
  return turn.arrivals.filter(({ event }) => event.type === "step.started").map(({ at }) => at);
}
