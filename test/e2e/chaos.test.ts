/** Short runs of chaos and of the proof of approvals, as `npm run chaos` does them for minutes. */
import { expect, test } from "vitest";
import { proveApprovals } from "../../bench/approvals/run.ts";
import { findingsOf } from "../../bench/approvals/table.ts";
import { runChaos } from "../../bench/chaos/run.ts";

test("kills at random instants lose nothing, repeat nothing and leave nothing behind", async () => {
  // This seed's sessions are steered, interrupted in a command and in an answer, take a message back, and decide.
  const report = await runChaos({
    seed: 22,
    stormMs: 7_000,
    sessions: 3,
    scripts: 3,
    size: { acts: 2, works: 1 },
    pace: { minMs: 300, maxMs: 1_800 },
  });

  expect(report.violations).toEqual([]);
  expect(report.kills.worker + report.kills.api + report.kills.temporal).toBeGreaterThanOrEqual(4);
  expect(report.decisions).toBeGreaterThan(0);
});

test("kills while people decide lose no decision, and nothing runs without one or against one", async () => {
  const report = await proveApprovals({ seed: 1, sessions: 1, backend: "openai", killsEach: 1, tell: () => undefined });

  expect(findingsOf(report)).toEqual([]);
  expect(report.audits.map(({ asked }) => asked)).toEqual([10]);
});
