/** How the tests run: light files beside each other, files that start servers and processes one after another. */
import { defineConfig } from "vitest/config";

/** Folders whose tests start Temporal, workers or whole stacks. Two of those at once would measure each other. */
const HEAVY = ["test/e2e/**/*.test.ts", "test/workflows/**/*.test.ts", "test/cli/**/*.test.ts"];

export default defineConfig({
  test: {
    pool: "forks",
    teardownTimeout: 10_000,
    projects: [
      {
        extends: true,
        test: {
          name: "light",
          include: ["test/**/*.test.ts"],
          exclude: HEAVY,
          maxWorkers: 2,
          testTimeout: 10_000,
          hookTimeout: 10_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "heavy",
          include: HEAVY,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
