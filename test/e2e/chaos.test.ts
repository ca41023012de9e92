/** A short run of chaos, as `npm run chaos` does it for minutes. */
import { expect, test } from "vitest";
import { runChaos } from "../../bench/chaos/run.ts";

test("kills at random instants lose nothing, repeat nothing and leave nothing behind", async () => {
  const report = await runChaos({
    seed: 3,
    stormMs: 10_000,
    sessions: 4,
    scripts: 4,
    size: { acts: 2, works: 2 },
    pace: { minMs: 300, maxMs: 1_800 },
  });

  expect(report.violations).toEqual([]);
  expect(report.kills.worker + report.kills.api + report.kills.temporal).toBeGreaterThanOrEqual(6);
});
