/** What the tests of containers share: a real engine for a file, whose sandboxes are removed behind it, and one sandbox for a test. */
import { randomUUID } from "node:crypto";
import { afterAll } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import type { SandboxSpec } from "../../contract/sandbox.ts";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { HOST_IMAGE, startTestEngine, type TestEngine } from "../support/docker-engine.ts";

export const testOwner = (): string => `test-${randomUUID().slice(0, 8)}`;

/** To be called once in a file, where an engine can be had. It is started when it is first asked for. */
export function engineOfFile(): (image?: string) => Promise<DockerProviderOptions> {
  const owner = testOwner();
  let starting: Promise<TestEngine> | undefined;
  const options = async (image = HOST_IMAGE): Promise<DockerProviderOptions> => {
    starting ??= startTestEngine();
    const started = await starting;
    if (started.engine === undefined) throw new Error(started.reason);
    return { engine: started.engine, owner, image };
  };
  afterAll(async () => {
    const started = await starting;
    if (started?.engine === undefined) return;
    const provider = createDockerProvider(await options());
    for (const { id } of await provider.list()) await provider.remove(id);
    await started.close();
  }, 60_000);
  return options;
}

/** A sandbox for this work alone, removed behind it. */
export async function withSandbox(
  given: DockerProviderOptions,
  spec: SandboxSpec,
  work: (sandbox: Sandbox, given: DockerProviderOptions) => Promise<void>,
): Promise<void> {
  const provider = createDockerProvider(given);
  const id: SandboxId = `sbx_${randomUUID()}`;
  const sandbox = await provider.open(id, spec);
  try {
    await work(sandbox, given);
  } finally {
    await sandbox[Symbol.asyncDispose]();
    await provider.remove(id);
  }
}
