/** What a turn's events say of its calls: asked, decided, run, ended. Each comes once, and in an order that can be. */
import type { SessionEventOf } from "../../contract/events.ts";

export interface CallStructure {
  name: string;
  /** As it ran; of one that did not run, as it was asked for. */
  arguments: string;
  /** What was asked about it, and what was answered. */
  readonly words: string[];
  stdout: string;
  stderr: string;
  outcome: string;
  result: string;
}

export type CallEvent = SessionEventOf<
  | "approval.requested"
  | "approval.decided"
  | "question.asked"
  | "question.answered"
  | "tool.requested"
  | "tool.started"
  | "tool.output"
  | "tool.completed"
>;

/**
 * asked: a person has to decide. approved, denied: one has. stopped: the turn ended first. handed: a person or the caller
 * has to answer. running: a worker has begun it. over: it has its result.
 */
type Phase = "asked" | "approved" | "denied" | "stopped" | "handed" | "running" | "over";

interface Call {
  readonly structure: CallStructure;
  phase: Phase;
  /** A worker had begun it before it was asked about: whether it may run again. */
  wasRunning: boolean;
  /** As it was approved, when it was asked for. */
  approved?: string;
}

export class CallLog {
  readonly #plain: (text: string) => string;
  readonly #calls = new Map<string, Call>();

  /** `plain` takes out of a text what differs from session to session. */
  constructor(plain: (text: string) => string) {
    this.#plain = plain;
  }

  /** Takes note of an event, and says what is wrong with it. A call that it makes known is handed to `add`. */
  read(event: CallEvent, add: (call: CallStructure) => void): string | undefined {
    const known = this.#calls.get(event.callId);
    switch (event.type) {
      case "approval.requested":
        return this.#ask(known ?? this.#make(event, add), event, known !== undefined);
      case "approval.decided":
        return known ? this.#decide(known, event) : this.#remember(event, add);
      case "question.asked":
      case "tool.requested":
        return this.#handOver(known ?? this.#make(event, add), event, known !== undefined);
      case "question.answered":
        return this.#answer(known, event);
      case "tool.started":
        return this.#start(known ?? this.#make(event, add), event, known !== undefined);
      case "tool.output":
        if (known?.phase !== "running") return known ? "its call does not run" : "its call never started";
        known.structure[event.stream] += this.#plain(event.text);
        return undefined;
      case "tool.completed":
        return this.#complete(known ?? this.#make(event, add), event, known !== undefined);
    }
  }

  /** What is wrong with the calls of a turn that ends so. */
  end(turnEnd: "turn.completed" | "turn.failed" | "turn.interrupted"): readonly string[] {
    return [...this.#calls.values()].flatMap(({ phase, structure, wasRunning }) => {
      if (phase === "asked") return [`nobody decided about ${structure.name}`];
      // What nobody began has no end, when it was not to be run any more.
      const mayBeOpen = turnEnd !== "turn.completed" && !wasRunning && (phase === "approved" || phase === "stopped");
      return phase === "over" || mayBeOpen ? [] : [`${structure.name} has no end`];
    });
  }

  #make(event: CallEvent, add: (call: CallStructure) => void): Call {
    const name = "name" in event ? event.name : "";
    const args = "arguments" in event ? this.#plain(JSON.stringify(event.arguments)) : "";
    const structure = { name, arguments: args, words: [], stdout: "", stderr: "", outcome: "", result: "" };
    const call: Call = { structure, phase: "running", wasRunning: false };
    this.#calls.set(event.callId, call);
    add(structure);
    return call;
  }

  #ask(call: Call, event: SessionEventOf<"approval.requested">, isKnown: boolean): string | undefined {
    if (isKnown && call.phase !== "running") return "it is asked about, and not for the first time";
    call.wasRunning = isKnown;
    call.phase = "asked";
    call.approved = JSON.stringify(event.arguments);
    call.structure.words.push(`asked: ${this.#plain(event.reason)}`);
    return undefined;
  }

  #decide(call: Call, event: SessionEventOf<"approval.decided">): string | undefined {
    if (call.phase !== "asked") return "it is decided, and nobody was asked";
    const { decision, by, scope, reason } = event;
    call.structure.words.push(
      this.#plain(`${decision} by ${by}, ${scope}${reason === undefined ? "" : `: ${reason}`}`),
    );
    if (event.arguments !== undefined) call.approved = JSON.stringify(event.arguments);
    if (decision === "approve") call.phase = call.wasRunning ? "running" : "approved";
    else call.phase = by === "stop" ? "stopped" : "denied";
    return undefined;
  }

  /** Decided by a word from before, so that nobody is asked. */
  #remember(event: SessionEventOf<"approval.decided">, add: (call: CallStructure) => void): string | undefined {
    const call = this.#make(event, add);
    call.phase = event.decision === "approve" ? "approved" : "denied";
    call.structure.words.push(`${event.decision} by ${event.by}`);
    return event.by === "grant" ? undefined : "it is decided, and nobody was asked";
  }

  #handOver(
    call: Call,
    event: SessionEventOf<"question.asked" | "tool.requested">,
    isKnown: boolean,
  ): string | undefined {
    if (isKnown && call.phase !== "approved") return notApproved(call.phase);
    call.phase = "handed";
    call.structure.words.push(
      event.type === "question.asked" ? `asked: ${this.#plain(event.question)}` : "handed over",
    );
    return event.type === "tool.requested" ? this.#runsAs(call, event) : undefined;
  }

  #answer(call: Call | undefined, { answer, by }: SessionEventOf<"question.answered">): string | undefined {
    if (call?.phase !== "handed" || call.structure.words.length !== 1) return "it is answered, and nobody was asked";
    call.structure.words.push(`answered by ${by}: ${this.#plain(String(answer))}`);
    return undefined;
  }

  #start(call: Call, event: SessionEventOf<"tool.started">, isKnown: boolean): string | undefined {
    if (isKnown && call.phase !== "approved") return notApproved(call.phase);
    call.phase = "running";
    return this.#runsAs(call, event);
  }

  #runsAs(call: Call, event: SessionEventOf<"tool.started" | "tool.requested">): string | undefined {
    call.structure.name = event.name;
    const args = JSON.stringify(event.arguments);
    call.structure.arguments = this.#plain(args);
    if (call.approved === undefined || call.approved === args) return undefined;
    return `it was approved with ${call.approved.slice(0, 200)}`;
  }

  #complete(call: Call, event: SessionEventOf<"tool.completed">, isKnown: boolean): string | undefined {
    const phase = isKnown ? call.phase : "denied"; // What a policy denies is not asked about.
    call.structure.name = event.name;
    call.structure.outcome = event.outcome;
    call.structure.result = this.#plain(event.result);
    call.phase = "over";
    if (phase === "over") return "its call is over";
    if (phase === "asked" || phase === "approved") return "its call never started";
    if (phase === "stopped") return call.wasRunning ? undefined : "its call never started";
    const isDenied = phase === "denied" && !call.wasRunning;
    if (isDenied && event.outcome !== "denied") return isKnown ? "it was denied" : "its call never started";
    return event.outcome === "denied" && !isDenied ? "it is denied after it was begun" : undefined;
  }
}

function notApproved(phase: Phase): string {
  if (phase === "asked") return "it starts without a decision";
  return phase === "denied" || phase === "stopped" ? "it starts against a decision" : "it starts twice";
}
