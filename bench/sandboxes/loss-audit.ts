/**
 * What a session's log and its sandboxes must agree on when sandboxes were killed: each command was begun at most once, each loss
 * is told, and what the last snapshot before a loss held is there after it.
 */
import type { SessionEvent, SessionEventOf } from "../../contract/events.ts";
import { KEPT_FOLDER, type SandboxScript, type ScriptedCall } from "./script.ts";
import type { KilledSandbox } from "./victims.ts";

export interface AuditInput {
  readonly script: SandboxScript;
  readonly log: readonly SessionEvent[];
  /** The session's sandboxes that were killed, in order. */
  readonly killed: readonly KilledSandbox[];
  /** STARTS_FILE of the last one; undefined where it could not be read. */
  readonly lastStarts: readonly string[] | undefined;
}

export interface SandboxAudit {
  readonly faults: readonly (readonly [rule: string, detail: string])[];
  /** How the calls ended, by outcome. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly losses: number;
  readonly snapshots: number;
  /** Looks that found every file that had to be there. */
  readonly looks: number;
}

/** From the commit of a snapshot until whoever makes a sandbox finds it for certain. */
const SNAPSHOT_SEEN_MS = 1_000;
/** Clocks of one machine, read by different processes. */
const CLOCK_MS = 50;

export function auditLosses(input: AuditInput): SandboxAudit {
  return new Audit(input).run();
}

interface Newest {
  readonly id: string;
  /** When the log told of it. */
  readonly at: number;
  /** It was made after this. */
  readonly madeAt: number;
}

interface OpenCall {
  readonly call: ScriptedCall;
  readonly startedAt: number;
  readonly losses: number;
  stdout: string;
}

class Audit {
  readonly #input: AuditInput;
  readonly #faults: [string, string][] = [];
  readonly #outcomes: Record<string, number> = {};
  readonly #open = new Map<string, OpenCall>();
  readonly #files = new Map<string, string>();
  /** Files that must be there now, as the log tells it. */
  #present = new Set<string>();
  /** The same at the end of each turn, and in each snapshot. */
  readonly #atTurnEnd = new Map<string, ReadonlySet<string>>();
  readonly #inSnapshot = new Map<string, ReadonlySet<string>>();
  #newest: Newest | undefined;
  /** The newest snapshot when the generation that is being made was begun. */
  #promised: Newest | undefined;
  #losses = 0;
  #snapshots = 0;
  #looks = 0;
  readonly #ok = new Set<string>();

  constructor(input: AuditInput) {
    this.#input = input;
    for (const { file } of input.script.calls) if (file) this.#files.set(file.path, file.sha256);
  }

  run(): SandboxAudit {
    for (const event of this.#input.log) this.#read(event);
    this.#checkStarts();
    this.#checkLosses();
    const { ...outcomes } = this.#outcomes;
    return { faults: this.#faults, outcomes, losses: this.#losses, snapshots: this.#snapshots, looks: this.#looks };
  }

  #read(event: SessionEvent): void {
    switch (event.type) {
      case "tool.started":
        this.#begin(event);
        return;
      case "tool.output": {
        const open = this.#open.get(event.callId);
        if (open && event.stream === "stdout") open.stdout += event.text;
        return;
      }
      case "tool.completed":
        this.#end(event);
        return;
      case "turn.completed":
        this.#atTurnEnd.set(event.turnId, new Set(this.#present));
        return;
      case "turn.failed":
        this.#note("a lost sandbox fails no turn", `${event.code}: ${event.message}`);
        return;
      case "sandbox.lost":
        this.#losses += 1;
        return;
      case "sandbox.starting":
        // One that was told at that very instant may have come too late to be taken.
        this.#promised = this.#newest && event.at - this.#newest.at > SNAPSHOT_SEEN_MS ? this.#newest : undefined;
        return;
      case "sandbox.snapshotted":
        this.#snapshot(event);
        return;
      case "sandbox.replaced":
        this.#replace(event);
        return;
      default:
        return;
    }
  }

  #begin({ callId, arguments: args, at }: SessionEventOf<"tool.started">): void {
    const text = JSON.stringify(args);
    const call = this.#input.script.calls.find(({ label }) => text.includes(label));
    if (!call) {
      this.#note("calls are the script's", `${callId} is none of them: ${text.slice(0, 200)}`);
      return;
    }
    this.#open.set(callId, { call, startedAt: at, losses: this.#losses, stdout: "" });
  }

  #end(event: SessionEventOf<"tool.completed">): void {
    const open = this.#open.get(event.callId);
    this.#outcomes[event.outcome] = (this.#outcomes[event.outcome] ?? 0) + 1;
    if (!open) return;
    this.#open.delete(event.callId);
    const { call } = open;
    if (event.outcome !== "ok") {
      if (this.#wasKilled(open.startedAt, event.at)) return;
      this.#note("only a lost sandbox costs a result", `${call.label} ended as ${event.outcome}: ${event.result}`);
      return;
    }
    this.#ok.add(call.label);
    if (call.kind !== "look" && open.stdout !== call.stdout) {
      const said = `${JSON.stringify(call.stdout.slice(-200))}, its events say ${JSON.stringify(open.stdout.slice(-200))}`;
      this.#note("output is what was printed", `${call.label} printed ${said}`);
    }
    // With a loss in its middle nobody can say in which of the two it was.
    if (open.losses !== this.#losses) return;
    if (call.file) this.#present.add(call.file.path);
    if (call.kind === "look") this.#look(call, open.stdout);
  }

  #look(call: ScriptedCall, stdout: string): void {
    const lines = stdout.split("\n").slice(0, -1);
    if (lines.pop() !== call.stdout.trimEnd()) {
      this.#note("output is what was printed", `${call.label} printed ${JSON.stringify(stdout.slice(-200))}`);
      return;
    }
    const seen = new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
    for (const [path, digest] of seen) {
      if (this.#files.get(path) === digest) continue;
      this.#note("files are whole", `${call.label} saw ${path} with ${digest}, expected ${this.#files.get(path)}`);
    }
    const missing = [...this.#present].filter((path) => !seen.has(path));
    this.#looks += 1;
    if (missing.length === 0) return;
    const told = missing.map((path) => path.slice(KEPT_FOLDER.length + 1)).join(", ");
    this.#note("no loss is silent", `${call.label} did not see ${told}; it saw ${seen.size} files`);
  }

  #replace({ generation, restoredFrom }: SessionEventOf<"sandbox.replaced">): void {
    const id = restoredFrom?.snapshotId ?? "";
    const held = this.#inSnapshot.get(id);
    if (restoredFrom && !held)
      this.#note("a snapshot comes back", `generation ${generation} is made from ${id}, which is not in the log`);
    const isOlder = this.#promised !== undefined && (restoredFrom?.at ?? 0) < this.#promised.madeAt;
    if (isOlder) {
      const from = restoredFrom ? id : "nothing";
      this.#note(
        "a snapshot comes back",
        `generation ${generation} is made from ${from}, though there was ${this.#promised?.id}`,
      );
    }
    this.#present = new Set(held ?? []);
  }

  /** It holds what was there at the turn's end and still is; what came later may be in it, too. */
  #snapshot({ turnId, snapshotId, at, durationMs }: SessionEventOf<"sandbox.snapshotted">): void {
    this.#snapshots += 1;
    const then = turnId === undefined ? this.#present : this.#atTurnEnd.get(turnId);
    this.#inSnapshot.set(snapshotId, new Set([...(then ?? [])].filter((path) => this.#present.has(path))));
    this.#newest = { id: snapshotId, at, madeAt: at - durationMs - SNAPSHOT_SEEN_MS };
  }

  /** Whether a sandbox of this session was killed in that time. */
  #wasKilled(from: number, until: number): boolean {
    return this.#input.killed.some((killed) => killed.until + CLOCK_MS >= from && killed.from - CLOCK_MS <= until);
  }

  /** A start has a word of its own, so a line that came back with a snapshot is no second start. */
  #checkStarts(): void {
    const { killed, lastStarts, script } = this.#input;
    const starts = new Map<string, Set<string>>();
    for (const line of [...killed.flatMap(({ starts }) => starts ?? []), ...(lastStarts ?? [])]) {
      const [label = "", word = ""] = line.split(" ");
      starts.set(label, (starts.get(label) ?? new Set()).add(word));
    }
    const isWhole = lastStarts !== undefined && killed.every(({ starts }) => starts !== undefined);
    for (const { label, kind } of script.calls) {
      if (kind === "write") continue;
      const times = starts.get(label)?.size ?? 0;
      starts.delete(label);
      if (times > 1) this.#note("a command starts at most once", `${label} was started ${times} times`);
      if (times === 0 && isWhole && this.#ok.has(label)) {
        this.#note("a command that has a result was started", `${label} left no line in any sandbox`);
      }
    }
    for (const label of starts.keys()) this.#note("commands are the script's", `an unknown line: ${label}`);
  }

  #checkLosses(): void {
    const { killed, log } = this.#input;
    for (const event of log) {
      if (event.type !== "sandbox.lost" || killed.some(({ id }) => id === event.sandboxId)) continue;
      this.#note("only what was killed is lost", `${event.sandboxId}: ${event.message}`);
    }
    for (const { id, from, until } of killed) this.#checkAnnounced(id, { from, until });
  }

  /** Of a sandbox that was ready and is needed after its death the loss is told, and what took its place. */
  #checkAnnounced(id: string, { from, until }: Pick<KilledSandbox, "from" | "until">): void {
    const { log } = this.#input;
    const isOf = (event: SessionEvent): boolean => "sandboxId" in event && event.sandboxId === id;
    const wasReady = log.some((event) => event.type === "sandbox.ready" && isOf(event) && event.at < from - CLOCK_MS);
    const needed = log.find((event) => event.type === "tool.started" && event.at > until + CLOCK_MS);
    if (!wasReady || !needed) return;
    const lost = log.find((event) => event.type === "sandbox.lost" && isOf(event));
    if (!lost) {
      this.#note("every loss is told", `${id} was killed and needed again, and no sandbox.lost names it`);
      return;
    }
    const isReplaced = log.some((event) => event.type === "sandbox.replaced" && event.seq > lost.seq);
    if (!isReplaced) this.#note("every loss is told", `no sandbox.replaced follows the loss of ${id}`);
  }

  #note(rule: string, detail: string): void {
    this.#faults.push([rule, detail]);
  }
}
