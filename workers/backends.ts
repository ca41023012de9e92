/** The backends of a worker, made from the registry's lines; each with a folder of its own for what it keeps on disk. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import type { BackendEntry, BackendOptions, SteppedBackend } from "../backends/backend.ts";
import { BACKENDS } from "../backends/registry.ts";

export interface WorkerBackends extends AsyncDisposable {
  readonly byName: ReadonlyMap<string, SteppedBackend>;
}

/** None of them may need anything yet: what a backend lacks is told by its validation, and by the turns that use it. */
export async function createBackends(
  options: BackendOptions,
  entries: readonly BackendEntry[] = BACKENDS,
): Promise<WorkerBackends> {
  const made = await Promise.all(
    entries.map((entry) => {
      const scratchDir = path.join(options.scratchDir, entry.name);
      mkdirSync(scratchDir, { recursive: true, mode: 0o700 });
      return entry.create({ ...options, scratchDir });
    }),
  );
  return {
    byName: new Map(made.map((backend) => [backend.name, backend])),
    async [Symbol.asyncDispose]() {
      // Each is ended, also when another cannot be.
      const ended = await Promise.allSettled(made.map((backend) => backend[Symbol.asyncDispose]?.()));
      for (const end of ended) {
        if (end.status === "rejected") options.warn({ err: end.reason }, "a backend was not ended in order");
      }
    },
  };
}
