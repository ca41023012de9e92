/** Short runs of chaos, of the proof of approvals and of chaos with sandboxes, as `npm run chaos` does them for minutes. */
import { expect, test } from "vitest";
import { proveApprovals } from "../../bench/approvals/run.ts";
import { findingsOf } from "../../bench/approvals/table.ts";
import { runChaos } from "../../bench/chaos/run.ts";
import { runSandboxChaos } from "../../bench/sandboxes/run.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";

const bubblewrap = await detectBubblewrap();

test("kills at random instants lose nothing, repeat nothing and leave nothing behind", async () => {
  // This seed's sessions are steered, interrupted in a command and in an answer, take a message back, and decide.
  const report = await runChaos({
    seed: 22,
    stormMs: 10_000,
    sessions: 3,
    scripts: 3,
    size: { acts: 2, works: 1 },
    pace: { minMs: 300, maxMs: 1_800 },
  });

  expect(report.violations).toEqual([]);
  expect(report.kills.worker + report.kills.api + report.kills.temporal).toBeGreaterThanOrEqual(4);
  expect(report.decisions).toBeGreaterThan(0);
});

test("pauses of every process and a blocked event loop end no command and repeat none", async () => {
  const report = await runChaos({
    ...{ seed: 23, sessions: 2, scripts: 2, size: { acts: 2, works: 1 }, stormMs: 26_000 },
    strikes: [
      { afterMs: 500, fault: { type: "pause", name: "worker", forMs: 7_000 } },
      { afterMs: 1_000, fault: { type: "pause", name: "api", forMs: 3_000 } },
      { afterMs: 8_000, fault: { type: "block", forMs: 6_000 } },
      { afterMs: 7_000, fault: { type: "pause", name: "temporal", forMs: 6_000 } },
    ],
  });

  expect(report.violations).toEqual([]);
  expect(report.faults).toEqual({ pause: 3, block: 1 });
});

test("kills while people decide lose no decision, and nothing runs without one or against one", async () => {
  const report = await proveApprovals({ seed: 1, sessions: 1, backend: "openai", killsEach: 1, tell: () => undefined });

  expect(findingsOf(report)).toEqual([]);
  expect(report.audits.map(({ asked }) => asked)).toEqual([10]);
});

test.skipIf(!bubblewrap.works)(
  `sandboxes that are killed lose nothing in silence, and no command begins twice${bubblewrap.works ? "" : `: ${bubblewrap.reason}`}`,
  async () => {
    const report = await runSandboxChaos({
      ...{ provider: "bubblewrap", seed: 9, sessions: 2, turns: 2, stormMs: 7_000 },
      pace: { minMs: 200, maxMs: 900 },
      tell: () => undefined,
    });

    expect(report.violations).toEqual([]);
    expect(report.kills.sandbox).toBeGreaterThanOrEqual(1);
    expect(report.looks).toBeGreaterThan(0);
  },
);
