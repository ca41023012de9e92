/** The order of the test files: those that take long begin first, so that the workers end together. */
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take more than about eight seconds alone, the longest first. Others come behind them in vitest's own order. */
const LONG: readonly string[] = [
  "e2e/chaos.test.ts",
  "e2e/two-databases.test.ts",
  "sandbox/docker.test.ts",
  "backends/copilot/conformance.test.ts",
  "sandbox/docker-stand-in.test.ts",
  "sandbox/modal.test.ts",
  "sandbox/bubblewrap.test.ts",
  "backends/copilot/conformance-resumed.test.ts",
  "e2e/placement.test.ts",
  "e2e/stuck-workflow.test.ts",
  "policy/real-shell.test.ts",
  "e2e/recovery.test.ts",
  "e2e/sandboxes.test.ts",
  "sandbox/remote.test.ts",
  "sandbox/docker-hostile.test.ts",
  "sandbox/bubblewrap-hostile.test.ts",
  "sandbox/local.test.ts",
  "backends/openai/conformance.test.ts",
  "e2e/plugins.test.ts",
  "e2e/approvals.test.ts",
  "cli/stack.test.ts",
  "e2e/stops.test.ts",
  "e2e/people.test.ts",
  "e2e/model-faults.test.ts",
  "cli/commands-demo.test.ts",
  "cli/commands.test.ts",
  "api/process.test.ts",
  "backends/copilot/live-steps.test.ts",
  "e2e/artifacts.test.ts",
  "backends/copilot/runtime.test.ts",
  "cli/stack-supervisor.test.ts",
  "api/messages.test.ts",
  "cli/approvals.test.ts",
  "api/endings.test.ts",
  "store/killed-writer.test.ts",
  "cli/agents.test.ts",
  "cli/chat-piped.test.ts",
  "e2e/backends.test.ts",
  "backends/scripted-backend.test.ts",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification): number => {
      const listed = LONG.findIndex((file) => moduleId.endsWith(`/test/${file}`));
      // Files that share a process stay together: the process ends where another kind of file comes between.
      return (project.config.isolate ? 0 : LONG.length + 1) + (listed === -1 ? LONG.length : listed);
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
