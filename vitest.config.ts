/** How the tests run: two files at once, light ones in shared processes, those that start servers each in one of its own. */
import path from "node:path";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/support/longest-first.ts";

/** Tests that start Temporal, workers or whole stacks. */
const HEAVY = [
  "test/e2e/**/*.test.ts",
  "test/workflows/**/*.test.ts",
  "test/cli/{commands-demo,spare-process,stack,stack-supervisor,status}.test.ts",
];

// Every process that a test starts would compile the same packages again.
process.env["NODE_COMPILE_CACHE"] ??= path.join(import.meta.dirname, ".cache", "compiled");

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    teardownTimeout: 10_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: "light",
          include: ["test/**/*.test.ts"],
          exclude: HEAVY,
          isolate: false,
          testTimeout: 60_000,
          hookTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: { name: "heavy", include: HEAVY, testTimeout: 120_000, hookTimeout: 120_000 },
      },
    ],
  },
});
