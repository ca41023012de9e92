/** Workflows that run although their session is over are ended, and no others. */
import { expect, test } from "vitest";
import { LeftWorkflows } from "../../api/left-workflows.ts";
import { closeSession } from "../../store/session-closing.ts";
import { findPlace, notePlace } from "../../store/session-places.ts";
import { purgeSession } from "../../store/sessions.ts";
import { aSession, temporaryStore } from "../store/store-builder.ts";
import { FakeSessions } from "../support/fake-sessions.ts";

test("those of closed and deleted sessions are ended, that of an open one is left", async () => {
  await using store = await temporaryStore();
  const { database } = store;
  const sessions = new FakeSessions(store);
  for (const id of ["open", "closed", "deleted"] as const) {
    await aSession(database, { id });
    const place = await findPlace(database, id);
    if (place) await notePlace(database, place, `workflow-${id}`);
    sessions.runs.push({ workflowId: `workflow-${id}`, runId: `run-${id}` });
  }
  await closeSession(database, "closed");
  await purgeSession(database, "deleted");
  await using left = new LeftWorkflows({ database, sessions }, () => undefined);

  await left.look();

  expect(sessions.endedRuns.map(({ runId }) => runId)).toEqual(["run-closed", "run-deleted"]);
});

test("while Temporal is away nothing is said of it", async () => {
  await using store = await temporaryStore();
  const sessions = new FakeSessions(store);
  sessions.fail("unreachable", "running");
  await using left = new LeftWorkflows({ database: store.database, sessions }, () => undefined);

  await left.look();

  expect(sessions.endedRuns).toEqual([]);
});
