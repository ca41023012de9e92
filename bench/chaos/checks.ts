/** What is checked from outside when a session is over: its effects, its log, its stream and its artifacts. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { SessionEvent } from "../../contract/events.ts";
import type { ArtifactList } from "../../contract/http.ts";
import type { ChaosClient } from "./client.ts";
import { differences } from "./differences.ts";
import { type LogStructure, structureOf } from "./log-structure.ts";
import type { ScriptedCommand, SessionScript } from "./script.ts";

/** Something that must never happen, and did. */
export interface Violation {
  readonly session: string;
  readonly rule: string;
  readonly detail: string;
}

export interface CheckedSession {
  readonly structure: LogStructure;
  readonly violations: readonly Violation[];
}

export interface CheckInput {
  readonly client: ChaosClient;
  readonly script: SessionScript;
  readonly effectsFile: string;
  /** The log of an undisturbed run of the same script; undefined when this is that run. */
  readonly expected: LogStructure | undefined;
}

export async function checkSession(input: CheckInput): Promise<CheckedSession> {
  const { client, script, effectsFile, expected } = input;
  const log = await wholeLog(client);
  const structure = structureOf(log, script.token);
  const found: [string, readonly string[]][] = [
    ["a command runs once", checkEffects(script, effectsFile)],
    ["what is stopped has ended", client.faults],
    ["the log is 1, 2, 3 …", checkSequence(log)],
    ["the stream is the log", checkStream(client, log)],
    ["the log tells a possible story", structure.faults],
    ["messages join and go as they were told", checkMessages(script, structure)],
    ["output is what was printed", checkOutput(script, structure)],
    ["artifacts are kept once and whole", await checkArtifacts(client, script)],
    ["as in an undisturbed run", expected ? differences(expected, structure) : []],
  ];
  const violations = found.flatMap(([rule, details]) =>
    details.map((detail) => ({ session: script.token, rule, detail })),
  );
  return { structure, violations };
}

export async function wholeLog(client: ChaosClient): Promise<readonly SessionEvent[]> {
  const log: SessionEvent[] = [];
  for (let after = 0; ; ) {
    const page = await client.get<{ events: SessionEvent[]; next: number }>(`/events?after=${after}&limit=500`);
    if (page.events.length === 0) return log;
    log.push(...page.events);
    after = page.next;
  }
}

function checkEffects(script: SessionScript, effectsFile: string): readonly string[] {
  const lines = existsSync(effectsFile) ? readFileSync(effectsFile, "utf8").split("\n").slice(0, -1) : [];
  const labels = new Set(script.commands.map((command) => command.label));
  const strangers = lines.filter((line) => !labels.has(line)).map((line) => `an unknown line: ${line}`);
  const counts = script.commands.map(({ label }) => ({ label, times: lines.filter((line) => line === label).length }));
  return [
    ...strangers,
    ...counts.filter(({ times }) => times !== 1).map(({ label, times }) => `${label} was started ${times} times`),
  ];
}

export function checkSequence(log: readonly SessionEvent[]): readonly string[] {
  const wrong = log.findIndex((event, index) => event.seq !== index + 1);
  if (wrong >= 0) return [`at place ${wrong + 1} stands seq ${log[wrong]?.seq}`];
  return log.at(-1)?.type === "session.closed" ? [] : [`it ends with ${log.at(-1)?.type}`];
}

/** Faults of the stream itself, and where it brought another event than the log has. */
export function checkStream({ reader }: ChaosClient, log: readonly SessionEvent[]): readonly string[] {
  const { arrivals, faults } = reader;
  if (faults.length > 0) return faults;
  const differing = log.findIndex((event, index) => arrivals[index]?.json !== JSON.stringify(event));
  if (differing >= 0) {
    return [`the log has ${JSON.stringify(log[differing])}, the stream brought ${arrivals[differing]?.json}`];
  }
  return arrivals.length === log.length ? [] : [`the log has ${log.length} events, the stream ${arrivals.length}`];
}

/** What was to join a turn has, what was taken back was never begun. */
function checkMessages({ acts, token }: SessionScript, { turns }: LogStructure): readonly string[] {
  return acts.flatMap((act) => {
    if (act.type === "steer") {
      const joining = act.joining.id.replaceAll(token, "TOKEN");
      return turns.some(({ joined }) => joined.includes(`${joining} at step 2`)) ? [] : [`${joining} joined no turn`];
    }
    const removed = act.type === "remove" ? act.removed.id.replaceAll(token, "TOKEN") : "";
    const begun = turns.filter(({ message, joined }) =>
      [message, ...joined].some((id) => id.split(" ")[0] === removed),
    );
    return begun.length === 0 ? [] : [`${removed} was taken back, and begun`];
  });
}

/** The events of a call, joined, are what its command printed: nothing is missing, nothing is there twice. */
function checkOutput(script: SessionScript, structure: LogStructure): readonly string[] {
  const calls = structure.turns.flatMap((turn) => turn.steps.flatMap((step) => step.calls));
  return script.commands.flatMap((command) => {
    const { label, stdout, stderr } = plain(command, script.token);
    const call = calls.find((candidate) => candidate.name === "bash" && candidate.arguments.includes(`${label} >>`));
    if (!call) return [`${label} is not in the log`];
    return [
      ...(call.stdout === stdout ? [] : [`${label} printed ${quote(stdout)}, its events say ${quote(call.stdout)}`]),
      ...(call.stderr === stderr ? [] : [`${label} complained ${quote(stderr)}, its events say ${quote(call.stderr)}`]),
    ];
  });
}

/** As the log's structure has it: without the session's token. */
function plain(command: ScriptedCommand, token: string): ScriptedCommand {
  const { label, stdout, stderr } = command;
  const [plainLabel = "", plainOut = "", plainErr = ""] = [label, stdout, stderr].map((text) =>
    text.replaceAll(token, "TOKEN"),
  );
  return { label: plainLabel, stdout: plainOut, stderr: plainErr };
}

async function checkArtifacts(client: ChaosClient, script: SessionScript): Promise<readonly string[]> {
  const { artifacts } = await client.get<ArtifactList>("/artifacts");
  const wanted = new Map(script.artifacts.map(({ path, content }) => [path, sha256(content)]));
  const wrong: string[] = [];
  for (const [path, digest] of wanted) {
    const rows = artifacts.filter((artifact) => artifact.path === path);
    if (rows.length !== 1) wrong.push(`${path} is there ${rows.length} times`);
    for (const row of rows) {
      const bytes = await client.download(row.id);
      if (row.sha256 !== digest || sha256(bytes) !== digest || row.bytes !== bytes.length) {
        wrong.push(`${path} has digest ${row.sha256} and bytes with ${sha256(bytes)}, expected ${digest}`);
      }
    }
  }
  const strangers = artifacts.filter((artifact) => !wanted.has(artifact.path));
  return [...wrong, ...strangers.map((artifact) => `nobody wrote ${artifact.path}`)];
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function quote(text: string): string {
  const quoted = JSON.stringify(text);
  return quoted.length > 400 ? `${quoted.slice(0, 200)} … ${quoted.slice(-200)}` : quoted;
}
