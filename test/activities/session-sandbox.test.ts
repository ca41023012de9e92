/** A session's sandbox: the agent's files are in each new generation before anything else is, once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createSandboxUpkeep } from "../../activities/sandbox-upkeep.ts";
import { createSessionEnds } from "../../activities/session-ends.ts";
import {
  findSandbox,
  openSandbox,
  prepareSandbox,
  type SandboxDeps,
  stopSandbox,
} from "../../activities/session-sandbox.ts";
import { takeSnapshot } from "../../activities/snapshot-take.ts";
import { Agent, type AgentInput } from "../../contract/agents.ts";
import type { SandboxId, SessionId, TurnId } from "../../contract/ids.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { beginSandbox, currentSandbox, seeHost, stopSandboxRow, takeMaking } from "../../store/sandboxes.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore, typesOf } from "../store/store-builder.ts";
import { localSandboxes, sandboxesOf } from "../support/local-sandboxes.ts";
import { anActivityWorld, anAttempt, asked } from "./activity-builder.ts";

const TURN: TurnId = "turn_1";

interface Place extends AsyncDisposable {
  readonly deps: SandboxDeps;
  readonly sessionId: SessionId;
}

async function aPlace(files: NonNullable<AgentInput["files"]>): Promise<Place> {
  const store = await temporaryStore();
  const root = mkdtempSync(path.join(tmpdir(), "perdure-files-"));
  const deps = { store, sandboxes: localSandboxes(root), host: "here" };
  return {
    deps,
    sessionId: await aSession(store.database, { agent: { files } }),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

const textOf = async (sandbox: Sandbox, file: string): Promise<string> =>
  Buffer.from(await sandbox.readFile(file)).toString();

test("text and bytes are there when the sandbox is ready, in folders that were made", async () => {
  await using place = await aPlace([
    { path: "notes/deep/a.txt", content: "laid ü" },
    { path: "empty", content: "" },
    { path: "bytes", data: Buffer.from([0, 255, 1]).toString("base64") },
  ]);

  const sandbox = await openSandbox(place.deps, place.sessionId);

  expect(await textOf(sandbox, "notes/deep/a.txt")).toBe("laid ü");
  expect(await textOf(sandbox, "empty")).toBe("");
  expect([...(await sandbox.readFile("bytes"))]).toEqual([0, 255, 1]);
});

test("a file that a tool has changed stays changed, whoever opens the sandbox again", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const sandbox = await openSandbox(place.deps, place.sessionId);

  await sandbox.writeFile("a.txt", Buffer.from("changed"));
  const again = await openSandbox(place.deps, place.sessionId);

  expect(await textOf(again, "a.txt")).toBe("changed");
});

test("one who comes late, while the sandbox is still said to be starting, overwrites nothing", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const sandbox = await openSandbox(place.deps, place.sessionId);
  await sandbox.writeFile("a.txt", Buffer.from("changed"));
  const { database } = place.deps.store;
  await database.write((tx) => tx.updateTable("sandboxes").set({ state: "starting" }).execute());

  await openSandbox(place.deps, place.sessionId);

  expect(await textOf(sandbox, "a.txt")).toBe("changed");
});

test("a generation that takes a lost one's place gets the files anew", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const { id } = await openSandbox(place.deps, place.sessionId);
  await place.deps.sandboxes.provider("local").remove(id);

  const next = await openSandbox(place.deps, place.sessionId);

  expect(next.id).not.toBe(id);
  expect(await textOf(next, "a.txt")).toBe("laid");
});

test("a file that cannot be laid is told by its name, and the sandbox is not said to be ready", async () => {
  await using place = await aPlace([
    { path: "a", content: "a file" },
    { path: "a/b", content: "below a file" },
  ]);
  const { database } = place.deps.store;

  await expect(openSandbox(place.deps, place.sessionId)).rejects.toMatchObject({
    kind: "failed",
    message: expect.stringMatching(/^the agent's file a\/b cannot be laid into the sandbox: /),
  });
  await expect(prepareSandbox(place.deps, place.sessionId)).rejects.toMatchObject({ nonRetryable: true });

  expect((await currentSandbox(database, place.sessionId))?.state).toBe("starting");
  expect(await typesOf(database, place.sessionId)).not.toContain("sandbox.ready");
});

test("many who open it at once find the same files in the same sandbox", async () => {
  await using place = await aPlace(Array.from({ length: 20 }, (_, i) => ({ path: `f${i}`, content: `${i}` })));

  const opened = await Promise.all(Array.from({ length: 8 }, () => openSandbox(place.deps, place.sessionId)));

  expect(new Set(opened.map(({ id }) => id)).size).toBe(1);
  const found = await Promise.all(Array.from({ length: 20 }, (_, i) => textOf(opened[0] as Sandbox, `f${i}`)));
  expect(found).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
});

test("a lost sandbox comes back as it was kept last, and the log says what it is and what is gone", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const { deps, sessionId } = place;
  const first = await openSandbox(deps, sessionId);
  await first.writeFile("a.txt", Buffer.from("changed"));
  await first.writeFile("made/b.txt", Buffer.from("made"));
  const kept = await takeSnapshot(deps, { sessionId, sandbox: first, generation: 1, turnId: TURN });
  await first.writeFile("made/c.txt", Buffer.from("too late"));
  await deps.sandboxes.provider("local").remove(first.id);

  const next = await openSandbox(deps, sessionId);

  expect(await textOf(next, "a.txt")).toBe("changed");
  expect(await textOf(next, "made/b.txt")).toBe("made");
  expect(await next.stat("made/c.txt")).toBeUndefined();
  expect((await logOf(deps.store.database, sessionId)).slice(-4)).toMatchObject([
    { type: "sandbox.lost", generation: 1, message: "it is no longer there" },
    { type: "sandbox.starting", generation: 2 },
    { type: "sandbox.ready", generation: 2 },
    {
      type: "sandbox.replaced",
      generation: 2,
      restoredFrom: { snapshotId: kept?.id, turnId: TURN },
      lost: [expect.stringMatching(/^what was changed in the workspace after 20/), expect.any(String)],
    },
  ]);
});

test("one that was stopped while idle comes back as it was, and nothing is said to be lost", async () => {
  await using place = await aPlace([]);
  const { deps, sessionId } = place;
  const first = await openSandbox(deps, sessionId);
  await first.writeFile("a.txt", Buffer.from("kept"));
  await takeSnapshot(deps, { sessionId, sandbox: first, generation: 1 });
  const record = await currentSandbox(deps.store.database, sessionId);
  if (record) await stopSandboxRow(deps.store.database, sessionId, { record, reason: "idle" });
  await deps.sandboxes.provider("local").remove(first.id);
  expect(await findSandbox(deps, sessionId)).toBeUndefined();

  const next = await openSandbox(deps, sessionId);

  expect(await textOf(next, "a.txt")).toBe("kept");
  expect(await typesOf(deps.store.database, sessionId)).not.toContain("sandbox.lost");
});

test("a sandbox on a host that lives is its workers' to open, and one on a host that is silent is lost", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const { deps, sessionId } = place;
  const { database } = deps.store;
  await openSandbox(deps, sessionId);
  const there = { ...deps, host: "there" };
  await seeHost(database, "here");

  const failure = { type: "Elsewhere", nonRetryable: true, details: [`perdure-${deps.store.stack}-host-here`] };
  await expect(openSandbox(there, sessionId)).rejects.toMatchObject(failure);
  await expect(findSandbox(there, sessionId)).rejects.toMatchObject(failure);
  await expect(stopSandbox(there, sessionId)).rejects.toMatchObject(failure);
  await database.write((tx) =>
    tx
      .updateTable("hosts")
      .set({ seen_at: Date.now() - 61_000 })
      .execute(),
  );
  expect(await findSandbox(there, sessionId)).toBeUndefined();
  const next = await openSandbox(there, sessionId);

  expect(await textOf(next, "a.txt")).toBe("laid");
  expect(await currentSandbox(database, sessionId)).toMatchObject({ generation: 2, host: "there" });
});

test("a maker that died in the middle is followed by another, who makes the whole of it", async () => {
  await using place = await aPlace([{ path: "a.txt", content: "laid" }]);
  const { deps, sessionId } = place;
  const { database } = deps.store;
  const record = await beginSandbox(database, sessionId, {
    provider: "local",
    host: "here",
    generation: 1,
    spec: {},
    restoredFrom: null,
  });
  expect(await takeMaking(database, record, "a process that died")).toBe("mine");
  await database.write((tx) =>
    tx
      .updateTable("sandboxes")
      .set({ maker_until: Date.now() + 200 })
      .execute(),
  );

  const sandbox = await openSandbox(deps, sessionId);

  expect(await textOf(sandbox, "a.txt")).toBe("laid");
  expect((await currentSandbox(database, sessionId))?.state).toBe("ready");
});

test("a sandbox whose session was closed while it was made is removed again, by whoever made it", async () => {
  await using world = await anActivityWorld();
  const { sessionId, database } = world;
  const local = world.deps.sandboxes.provider("local");
  const open: typeof local.open = async (id, spec) => {
    const made = await local.open(id, spec);
    const record = await currentSandbox(database, sessionId);
    if (record) await stopSandboxRow(database, sessionId, { record, reason: "closed" });
    return made;
  };
  const deps = { ...world.deps, sandboxes: sandboxesOf({ ...local, open }) };

  await expect(openSandbox(deps, sessionId)).rejects.toMatchObject({ kind: "lost" });

  expect(await local.list()).toEqual([]);
});

test("a provider that this worker lacks is named", async () => {
  await using place = await aPlace([]);
  const { deps, sessionId } = place;
  const agent = JSON.stringify(Agent.parse({ sandbox: { provider: "docker" } }));
  await deps.store.database.write((tx) => tx.updateTable("sessions").set({ agent }).execute());

  await expect(openSandbox(deps, sessionId)).rejects.toMatchObject({
    kind: "failed",
    message: expect.stringContaining("cannot make sandboxes of docker"),
  });
});

test("a snapshot that is damaged is let go of: the one before it is used, and what is lost is said", async () => {
  await using place = await aPlace([]);
  const { deps, sessionId } = place;
  const { database, blobs } = deps.store;
  const first = await openSandbox(deps, sessionId);
  await first.writeFile("a.txt", Buffer.from("older"));
  await takeSnapshot(deps, { sessionId, sandbox: first, generation: 1 });
  await first.writeFile("a.txt", Buffer.from("newer"));
  const damaged = await takeSnapshot(deps, { sessionId, sandbox: first, generation: 1 });
  await blobs.remove(damaged?.manifest ?? "");
  await deps.sandboxes.provider("local").remove(first.id);

  const next = await openSandbox(deps, sessionId);

  expect(await textOf(next, "a.txt")).toBe("older");
  const lost = (await logOf(database, sessionId)).filter(({ type }) => type === "sandbox.lost");
  expect(lost).toMatchObject([{ generation: 1 }, { generation: 2, message: expect.stringContaining("damaged") }]);
  expect(await currentSandbox(database, sessionId)).toMatchObject({ generation: 3, state: "ready" });
});

test("what was kept of a workspace goes when its session closes", async () => {
  await using world = await anActivityWorld();
  const { deps, sessionId, database } = world;
  const sandbox = await openSandbox(deps, sessionId);
  await sandbox.writeFile("a.txt", Buffer.from("kept"));
  await takeSnapshot(deps, { sessionId, sandbox, generation: 1 });

  await anAttempt().run(createSessionEnds(deps).closeSession, await asked(world, "session"));

  expect(await database.read.selectFrom("snapshots").selectAll().execute()).toEqual([]);
  expect(await database.read.selectFrom("blobs").selectAll().execute()).toEqual([]);
  expect(await deps.sandboxes.provider("local").find(sandbox.id)).toBeUndefined();
});

test("the sweeper removes what no open session owns, and nothing that is young or owned", async () => {
  await using world = await anActivityWorld();
  const owned = await openSandbox(world.deps, world.sessionId);
  const local = world.deps.sandboxes.provider("local");
  const old: SandboxId = "sbx_nobody-1";
  const young: SandboxId = "sbx_nobody-2";
  for (const id of [old, young]) await local.open(id);
  const list = async () => (await local.list()).map(({ id }) => ({ id, madeAt: id === young ? Date.now() : 1 }));
  const deps = { ...world.deps, sandboxes: sandboxesOf({ ...local, list }) };

  const swept = await anAttempt().run(createSandboxUpkeep(deps).sweepSandboxes, {
    ticket: deps.store.tickets.ofStack("sweep"),
  });

  expect(swept).toMatchObject({ removed: 1, ids: [old] });
  expect((await local.list()).map(({ id }) => id).sort()).toEqual([owned.id, young].sort());
});

test("an idle sandbox is stopped once nobody has used it for long enough, and not while a turn runs", async () => {
  await using world = await anActivityWorld();
  const { deps, sessionId, database } = world;
  const { stopIdleSandbox } = createSandboxUpkeep(deps);
  const key = await asked(world, "idle");
  const stop = () => anAttempt().run(stopIdleSandbox, { ...key, idleMs: 60_000 });
  expect(await stop()).toEqual({ againInMs: 0 });
  const sandbox = await openSandbox(deps, sessionId);
  await sandbox.writeFile("a.txt", Buffer.from("kept"));

  const early = (await stop()) as { againInMs: number };
  await database.write((tx) => tx.updateTable("sandboxes").set({ used_at: 1 }).execute());
  const { turnId } = await aStep(database, await aMessage(database, sessionId)).then(({ key }) => key);
  const busy = await stop();
  await database.write((tx) => tx.updateTable("turns").set({ state: "completed" }).where("id", "=", turnId).execute());
  const late = await stop();

  expect(early.againInMs).toBeGreaterThan(50_000);
  expect(busy).toEqual({ againInMs: 60_000 });
  expect(late).toEqual({ againInMs: 0 });
  expect(await deps.sandboxes.provider("local").find(sandbox.id)).toBeUndefined();
  expect(await textOf(await openSandbox(deps, sessionId), "a.txt")).toBe("kept");
});
