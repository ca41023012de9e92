/** The table that `npm run bench` prints: what was measured beside what it must be, what we aim at, and what others need. */

export const ROWS = {
  "step-read": {
    title: "wall time per step, 100 steps with 1 KB results, model answers at once, tool `read_file`",
    must: "≤ 28 ms",
    aim: "≤ 12 ms",
    others:
      "Temporal's own agent plugin 201 (tuned 32), LangGraph 28, Mastra durable 75, bare DBOS 4.2, bare Restate 2.9",
  },
  "step-bash": {
    title: "the same with `bash` (a command in the sandbox, under the supervisor)",
    must: "≤ 42 ms",
    aim: "≤ 22 ms",
    others: "opencode 63",
  },
  "step-copilot": {
    title: "the same with `read_file` on the copilot backend, p50 over the endpoint's own time; on openai",
    must: "≤ 120 ms; ≤ 45 ms",
    aim: "≤ 60 ms; ≤ 12 ms",
    others: "",
  },
  "step-1000": {
    title: "step 1,000 against step 20 of one turn",
    must: "≤ 1.2 ×",
    aim: "1.0 ×",
    others: "LangGraph 2.6 × already at 100",
  },
  history: {
    title: "history per step at step 1,000 with 20 KB tool outputs",
    must: "≤ 14 events, ≤ 4 KiB",
    aim: "9, ≤ 2 KiB",
    others: "grows with the square: 7.2 MB at 100 steps of 1 KB",
  },
  stores: {
    title: "all stores together, 100 steps with 1 KB results",
    must: "≤ 1 MB",
    aim: "≤ 500 KB",
    others: "LangGraph 36 MB, Mastra 1.2 MB, DBOS 129 KB",
  },
  "first-event": {
    title: "POST message → first event at an open stream",
    must: "≤ 30 ms",
    aim: "10 ms",
    others: "Mastra 5, DBOS 8, Restate 21, Temporal streams 55, LangGraph server 999",
  },
  "first-token": {
    title: "POST message → first token of a reply paced at 10 ms",
    must: "≤ 60 ms",
    aim: "20 ms",
    others: "Mastra 6, DBOS 8, Restate 16, Temporal streams 35, LangGraph server 1005",
  },
  approval: {
    title: "POST of an approval → the approved tool's start at an open stream, p50",
    must: "≤ 60 ms",
    aim: "≤ 25 ms",
    others: "",
  },
  watchers: {
    title: "event append → arrival at 300 watchers of one session, p50 / p99",
    must: "≤ 30 / 250 ms",
    aim: "10 / 80 ms",
    others: "Temporal streams: tens of watchers",
  },
  "worker-kill": {
    title: "SIGKILL of the worker in mid-command → the session's next event; times the command ran",
    must: "≤ 3 s; once",
    aim: "≤ 0.7 s; once",
    others: "Restate 0.55 s, DBOS 1.3, Temporal with 1 s heartbeats 1.5; all of them run it twice",
  },
  "worker-gap": {
    title: "SIGKILL of an idle worker → the end of a turn whose message comes at that moment",
    must: "≤ 5 s",
    aim: "≤ 1 s",
    others: "",
  },
  "api-kill": {
    title: "SIGKILL of the API → an open client streams again",
    must: "≤ 2 s",
    aim: "≤ 0.7 s",
    others: "",
  },
  load: {
    title: "worker's memory per idle session; with 100 sessions at work; steps per second with 50 sessions at once",
    must: "report",
    aim: "",
    others: "Temporal's plugin 734 MB after 60 sessions",
  },
  "exec-local": {
    title: "`true` under the supervisor in the running sandbox, start → its end seen, p50: `local`",
    must: "≤ 12 ms",
    aim: "",
    others: "",
  },
  "exec-bubblewrap": {
    title: "the same with `bubblewrap`",
    must: "≤ 25 ms",
    aim: "",
    others: "",
  },
  "exec-docker": {
    title: "the same with `docker`",
    must: "≤ 90 ms",
    aim: "",
    others: "",
  },
  "exec-modal": {
    title: "the same with `modal`, at its stand-in",
    must: "≤ 25 ms",
    aim: "",
    others: "",
  },
  "first-command": {
    title: "a new `bubblewrap` sandbox and its first command",
    must: "≤ 60 ms",
    aim: "",
    others: "",
  },
  snapshot: {
    title: "snapshot of a workspace of 10,000 files after 10 of them changed (`local`)",
    must: "≤ 1.5 s",
    aim: "≤ 0.3 s",
    others: "",
  },
  restore: {
    title: "restore of 200 MB in 2,000 files into a new sandbox (`local`)",
    must: "≤ 4 s",
    aim: "≤ 1.5 s",
    others: "",
  },
} as const;

export type RowKey = keyof typeof ROWS;

/** What was measured for a row. */
export interface Measured {
  readonly key: RowKey;
  readonly value: string;
  /** Undefined where there is nothing that it must be; skipped where it cannot be had on this machine. */
  readonly passes: boolean | "skipped" | undefined;
  /** What stands below the table: parts, floors, how it came about. */
  readonly notes: readonly string[];
  /** The numbers themselves, for `--json`. */
  readonly data: unknown;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function summarize(values: readonly number[]): Summary {
  return { median: percentile(values, 50), min: Math.min(...values), max: Math.max(...values) };
}

/** The value below which so many per cent lie; of an even number of values, the median is the mean of the middle two. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = ((sorted.length - 1) * percent) / 100;
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  if (low === undefined || high === undefined) throw new Error("percentile() needs a value");
  return low + (high - low) * (place - Math.floor(place));
}

/** `12.3 ms (11.9..14.0)`. */
export function showMs({ median, min, max }: Summary): string {
  return `${digits(median)} ms (${digits(min)}..${digits(max)})`;
}

export function showKb(bytes: number): string {
  return bytes >= 1_000_000 ? `${(bytes / 1_000_000).toFixed(2)} MB` : `${Math.round(bytes / 1_000)} KB`;
}

function digits(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toFixed(1);
}

/** The table as Markdown, with the notes below it. */
export function renderTable(measured: readonly Measured[]): string {
  const lines = measured.map(({ key, value, passes }) => {
    const { title, must, aim, others } = ROWS[key];
    const verdict = passes === undefined ? "reported" : passes === "skipped" ? passes : passes ? "pass" : "**FAIL**";
    return `| ${title} | ${value} | ${must} | ${aim} | ${others} | ${verdict} |`;
  });
  const notes = measured.flatMap(({ key, notes: own }) => own.map((note) => `- ${key}: ${note}`));
  const head = ["| | measured | must | aim | others, same machine | |", "|---|---|---|---|---|---|"];
  return `${[...head, ...lines, "", ...notes].join("\n")}\n`;
}
