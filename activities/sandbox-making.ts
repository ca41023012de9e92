/** Makes a sandbox once, however many want it at once, in however many processes: what is laid in must not be laid twice. */
import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";
import { type Sandbox, SandboxError } from "../sandbox/provider.ts";
import type { Database } from "../store/database.ts";
import { type SandboxRecord, takeMaking } from "../store/sandboxes.ts";

interface Work {
  /** Makes it and says that it is ready. */
  readonly make: () => Promise<Sandbox>;
  /** A handle of one that is made. */
  readonly find: () => Promise<Sandbox>;
}

/** Who makes, as rows name it: this process. */
const MAKER = randomUUID();
const POLL_MS = 20;

/** The makings of this process, by sandbox: a second caller waits for the first. */
const underWay = new Map<string, Promise<void>>();

export async function makeOnce(database: Database, record: SandboxRecord, work: Work): Promise<Sandbox> {
  const until = Date.now() + LIMITS.sandboxOpenMs;
  for (;;) {
    await underWay.get(record.sandboxId); // It tells no error: then this caller tries by itself.
    const making = underWay.has(record.sandboxId) ? "busy" : await takeMaking(database, record, MAKER);
    switch (making) {
      case "mine":
        if (underWay.has(record.sandboxId)) break; // Another caller of this process was quicker.
        return await makeNow(database, record, work);
      case "ready":
        return await work.find();
      case "gone":
        throw new SandboxError("lost", "the sandbox was lost or stopped before it was made");
      case "busy":
        if (Date.now() > until) throw new SandboxError("failed", "another worker did not get the sandbox made in time");
        await setTimeout(POLL_MS);
    }
  }
}

async function makeNow(database: Database, record: SandboxRecord, work: Work): Promise<Sandbox> {
  const renewal = setInterval(() => {
    takeMaking(database, record, MAKER).catch(() => undefined); // The next renewal may do better.
  }, LIMITS.sandboxMakerMs / 4);
  const made = work.make();
  underWay.set(
    record.sandboxId,
    made.then(
      () => undefined,
      () => undefined,
    ),
  );
  try {
    return await made;
  } finally {
    underWay.delete(record.sandboxId);
    clearInterval(renewal);
  }
}
