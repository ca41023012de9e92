/** What every sandbox provider must do. Each provider's test file calls this once. */
import { randomUUID } from "node:crypto";
import { test as base, describe } from "vitest";
import type { CallId, SandboxId } from "../../contract/ids.ts";
import type { Sandbox, SandboxProvider } from "../../sandbox/provider.ts";
import { describeEnds } from "./conformance-ends.ts";
import { describeFiles } from "./conformance-files.ts";
import { describeLife } from "./conformance-life.ts";
import { describeOutput } from "./conformance-output.ts";
import { describeStarts } from "./conformance-starts.ts";
import { describeWorkspace } from "./conformance-workspace.ts";
import type { ProviderElsewhere } from "./other-process.ts";

/** A provider with what its test file can do to it from outside; a case that lacks its means is skipped with the reason. */
export interface ProviderUnderTest {
  readonly provider: SandboxProvider;
  /** How another process makes the same: this object as JSON is all that it gets. */
  readonly elsewhere: ProviderElsewhere;
  /** Ends the sandbox as the death of its machine would: its processes are gone at once, and it is found no more. */
  killSandbox?(id: SandboxId): Promise<void>;
  /** KILL to the whole process group of a command, its supervisor included. */
  killCommand?(sandbox: Sandbox, callId: CallId): Promise<void>;
  /** KILL to the process that is the command's parent, and to nothing else. */
  killSupervisor?(sandbox: Sandbox, callId: CallId): Promise<void>;
}

/** What a case works with; a fresh sandbox for each test, which is removed after it. */
export interface Given extends ProviderUnderTest {
  readonly sandbox: Sandbox;
}

export type ConformanceTest = ReturnType<typeof conformanceTest>;

/** `make` is called once, when the first test begins. The tests run at once, as many as vitest's `maxConcurrency` says. */
export function describeSandboxProvider(
  name: string,
  make: () => ProviderUnderTest | Promise<ProviderUnderTest>,
  options: { readonly timeoutMs?: number } = {},
): void {
  const test = conformanceTest(make);
  describe.concurrent(`sandbox provider ${name}`, { timeout: options.timeoutMs ?? 60_000 }, () => {
    describeLife(test);
    describeStarts(test);
    describeEnds(test);
    describeOutput(test);
    describeFiles(test);
    describeWorkspace(test);
  });
}

function conformanceTest(make: () => ProviderUnderTest | Promise<ProviderUnderTest>) {
  let made: Promise<ProviderUnderTest> | undefined;
  return base.extend<{ given: Given }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads a fixture's needs from this pattern.
    given: async ({}, use) => {
      made ??= Promise.resolve(make());
      const { provider, ...rest } = await made;
      const id: SandboxId = `sbx_${randomUUID()}`;
      const sandbox = await provider.open(id);
      await use({ provider, ...rest, sandbox });
      await sandbox[Symbol.asyncDispose]();
      await provider.remove(id);
    },
  });
}
