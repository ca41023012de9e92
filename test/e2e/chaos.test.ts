/** A short run of chaos, as `npm run chaos` does it for minutes. */
import { expect, test } from "vitest";
import { runChaos } from "../../bench/chaos/run.ts";

test("kills at random instants lose nothing, repeat nothing and leave nothing behind", async () => {
  const report = await runChaos({
    seed: 3,
    stormMs: 12_000,
    sessions: 4,
    scripts: 4,
    pace: { minMs: 400, maxMs: 2_000 },
  });

  expect(report.violations).toEqual([]);
  expect(report.kills.worker + report.kills.api + report.kills.temporal).toBeGreaterThanOrEqual(6);
});
