/** What the chaos of sandboxes must not let pass. */
import { describe, expect, test } from "vitest";
import { auditLosses } from "../../bench/sandboxes/loss-audit.ts";
import type { SandboxScript, ScriptedCall } from "../../bench/sandboxes/script.ts";
import type { KilledSandbox } from "../../bench/sandboxes/victims.ts";
import type { Fact, SessionEvent } from "../../contract/events.ts";

const [FIRST, SECOND] = ["sbx_box-1", "sbx_box-2"] as const;
const DIGEST = "a".repeat(64);
const MAKE: ScriptedCall = {
  label: "box.c000",
  kind: "make",
  stdout: "made\n",
  file: { path: "kept/a.txt", sha256: DIGEST },
};
const LOOK: ScriptedCall = { label: "box.c001", kind: "look", stdout: "looked\n" };
const SCRIPT: SandboxScript = { token: "box", turns: [], calls: [MAKE, LOOK] };
const SEEN = `${DIGEST}  kept/a.txt\nlooked\n`;
const STARTS = ["box.c000 1", "box.c001 2"];
const KILLED: KilledSandbox = { id: FIRST, from: 4_900, until: 4_950, starts: ["box.c000 1"] };
const SUM = {
  usage: { inputTokens: 0, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 },
  steps: 1,
  durationMs: 1,
};

/** Facts of one session, each at a time of its own. */
type Timed = readonly [at: number, fact: Fact];

function sandbox(sandboxId: typeof FIRST | typeof SECOND) {
  return { sandboxId, provider: "local", generation: sandboxId === FIRST ? 1 : 2 };
}

function call(
  at: number,
  { label }: ScriptedCall,
  end: { readonly stdout?: string; readonly outcome?: "ok" | "unknown" },
): Timed[] {
  const { stdout = "", outcome = "ok" } = end;
  const inCall = { turnId: "turn_1", step: 1, callId: `call_${at}`, name: "bash" } as const;
  return [
    [at, { type: "tool.started", ...inCall, arguments: { command: label } }],
    [at + 1, { type: "tool.output", ...inCall, stream: "stdout", text: stdout }],
    [at + 2, { type: "tool.completed", ...inCall, outcome, result: "", durationMs: 1 }],
  ];
}

const MADE: readonly Timed[] = [
  [900, { type: "sandbox.ready", ...sandbox(FIRST) }],
  ...call(1_000, MAKE, { stdout: "made\n" }),
  [1_100, { type: "turn.completed", turnId: "turn_1", ...SUM, output: "" }],
];
const KEPT: Timed = [
  1_200,
  {
    type: "sandbox.snapshotted",
    ...sandbox(FIRST),
    ...{ snapshotId: "snap_1", turnId: "turn_1", files: 1, bytes: 1, storedBytes: 1, durationMs: 1 },
  },
];
const LOST: readonly Timed[] = [
  [5_000, { type: "sandbox.lost", ...sandbox(FIRST), message: "it is no longer there" }],
  [5_001, { type: "sandbox.starting", ...sandbox(SECOND) }],
  [5_002, { type: "sandbox.ready", ...sandbox(SECOND) }],
];
const RESTORED: Timed = [
  5_003,
  {
    type: "sandbox.replaced",
    ...sandbox(SECOND),
    ...{ restoredFrom: { snapshotId: "snap_1", turnId: "turn_1", at: 1_200 }, lost: [] },
  },
];
const EMPTY: Timed = [5_003, { type: "sandbox.replaced", ...sandbox(SECOND), restoredFrom: null, lost: [] }];

function audit(
  facts: readonly Timed[],
  more: { killed?: readonly KilledSandbox[]; lastStarts?: readonly string[] } = {},
) {
  const { killed = [], lastStarts = STARTS } = more;
  const log = facts.map(([at, fact], index) => ({ seq: index + 1, at, ...fact }) as unknown as SessionEvent);
  return auditLosses({ script: SCRIPT, log, killed, lastStarts });
}

function rules(...given: Parameters<typeof audit>): readonly string[] {
  return audit(...given).faults.map(([rule]) => rule);
}

describe("no fault is", () => {
  test("a session whose sandbox lives", () => {
    expect(audit([...MADE, KEPT, ...call(2_000, LOOK, { stdout: SEEN })])).toMatchObject({ faults: [], looks: 1 });
  });

  test("a loss that is told, with all that the snapshot held", () => {
    const facts = [...MADE, KEPT, ...LOST, RESTORED, ...call(6_000, LOOK, { stdout: SEEN })];

    expect(audit(facts, { killed: [KILLED] })).toMatchObject({ faults: [], losses: 1, snapshots: 1 });
  });

  test("a file that was in no snapshot and is gone with its sandbox", () => {
    const facts = [...MADE, ...LOST, EMPTY, ...call(6_000, LOOK, { stdout: "looked\n" })];

    expect(rules(facts, { killed: [KILLED] })).toEqual([]);
  });

  test("a call without a result while its sandbox was killed", () => {
    const facts = [...MADE, KEPT, ...call(4_899, LOOK, { outcome: "unknown" })];

    expect(rules(facts, { killed: [KILLED] })).toEqual([]);
  });
});

describe("a fault is", () => {
  test.each<[string, readonly Timed[], Parameters<typeof audit>[1], string]>([
    [
      "a command that began twice",
      [...MADE, ...call(2_000, LOOK, { stdout: SEEN })],
      { lastStarts: [...STARTS, "box.c000 3"] },
      "a command starts at most once",
    ],
    [
      "a second start that only the dead sandbox saw",
      [...MADE, KEPT, ...LOST, RESTORED, ...call(6_000, LOOK, { stdout: SEEN })],
      { killed: [{ ...KILLED, starts: ["box.c000 1", "box.c001 9"] }] },
      "a command starts at most once",
    ],
    [
      "a result of a command that nobody began",
      [...MADE, ...call(2_000, LOOK, { stdout: SEEN })],
      { lastStarts: ["box.c000 1"] },
      "a command that has a result was started",
    ],
    ["output that is not whole", call(1_000, MAKE, { stdout: "ma" }), {}, "output is what was printed"],
    [
      "a file of the snapshot that is missing after the loss",
      [...MADE, KEPT, ...LOST, RESTORED, ...call(6_000, LOOK, { stdout: "looked\n" })],
      { killed: [KILLED] },
      "no loss is silent",
    ],
    [
      "a file that is missing though nothing was lost",
      [...MADE, ...call(2_000, LOOK, { stdout: "looked\n" })],
      {},
      "no loss is silent",
    ],
    [
      "a file with another content",
      [...MADE, ...call(2_000, LOOK, { stdout: `${"b".repeat(64)}  kept/a.txt\nlooked\n` })],
      {},
      "files are whole",
    ],
    [
      "a snapshot that was not used",
      [...MADE, KEPT, ...LOST, EMPTY, ...call(6_000, LOOK, { stdout: "looked\n" })],
      { killed: [KILLED] },
      "a snapshot comes back",
    ],
    [
      "a killed sandbox that is needed again, and no word of it",
      [...MADE, KEPT, ...call(6_000, LOOK, { stdout: SEEN })],
      { killed: [KILLED] },
      "every loss is told",
    ],
    [
      "a loss, and no word on what took its place",
      [...MADE, KEPT, ...LOST, ...call(6_000, LOOK, { stdout: SEEN })],
      { killed: [KILLED] },
      "every loss is told",
    ],
    [
      "the loss of a sandbox that nobody killed",
      [...MADE, KEPT, ...LOST, RESTORED],
      {},
      "only what was killed is lost",
    ],
    [
      "a call without a result though its sandbox lives",
      [...MADE, ...call(2_000, LOOK, { outcome: "unknown" })],
      {},
      "only a lost sandbox costs a result",
    ],
    [
      "a turn that failed",
      [
        [
          1_000,
          { type: "turn.failed", turnId: "turn_1", ...SUM, code: "PROVIDER_ERROR", message: "no", retryable: false },
        ],
      ],
      {},
      "a lost sandbox fails no turn",
    ],
  ])("%s", (_, facts, more, rule) => {
    expect(rules(facts, more)).toContain(rule);
  });
});
