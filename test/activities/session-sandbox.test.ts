/** A session's sandbox: the agent's files are in each new generation before anything else is, once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { openSandbox, prepareSandbox, type SandboxDeps } from "../../activities/session-sandbox.ts";
import type { AgentInput } from "../../contract/agents.ts";
import type { SessionId } from "../../contract/ids.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { currentSandbox } from "../../store/sandboxes.ts";
import { aSession, temporaryStore, typesOf } from "../store/store-builder.ts";

interface Place extends AsyncDisposable {
  readonly deps: SandboxDeps;
  readonly sessionId: SessionId;
}

async function aPlace(files: NonNullable<AgentInput["files"]>): Promise<Place> {
  const store = await temporaryStore();
  const root = mkdtempSync(path.join(tmpdir(), "perdure-files-"));
  const deps = { store, sandboxes: createLocalProvider({ root }), host: "here" };
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
  await place.deps.sandboxes.remove(id);

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
