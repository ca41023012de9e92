/** Idle sandboxes that their sessions do not know of: each is told of, by no look twice. */
import { expect, test } from "vitest";
import { IdleWatch } from "../../api/idle-watch.ts";
import { beginSandbox, readySandbox } from "../../store/sandboxes.ts";
import { aSession, temporaryStore } from "../store/store-builder.ts";
import { FakeSessions } from "../support/fake-sessions.ts";

test("a sandbox that a caller woke is stopped when nobody has used it for long, and told of once", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessions = new FakeSessions(store);
  await using watch = new IdleWatch({ database, sessions }, () => undefined);
  const [idle, used] = [await aSession(database), await aSession(database)];
  for (const sessionId of [idle, used]) {
    const spec = { idleTimeoutMs: 1_000 };
    const wanted = { provider: "local", host: "h1", generation: 1, spec, restoredFrom: null } as const;
    await readySandbox(database, sessionId, await beginSandbox(database, sessionId, wanted));
  }
  await database.write((tx) =>
    tx.updateTable("sandboxes").set({ used_at: 1 }).where("session_id", "=", idle).execute(),
  );

  sessions.fail("unreachable", "stopIdle");
  await watch.look();
  sessions.recover();
  for (let looks = 0; looks < 3; looks++) await watch.look();

  expect(sessions.calls).toEqual([
    { method: "stopIdle", id: idle },
    { method: "stopIdle", id: idle },
  ]);
});
