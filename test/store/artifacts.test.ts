/** Artifacts: one row per path and content, and what the last scan saw of each file. */
import { expect, test } from "vitest";
import { isKnown, knownFiles, listArtifacts, recordArtifact } from "../../store/artifacts.ts";
import { aMessage, aSession, aStep, logOf, temporaryStore } from "./store-builder.ts";

async function aTurn() {
  const store = await temporaryStore();
  const { database } = store;
  const sessionId = await aSession(database);
  const ids = await aMessage(database, sessionId);
  await aStep(database, ids);
  const record = (path: string, sha256: string, modifiedAt: number) =>
    recordArtifact(database, ids, {
      scanned: { path, bytes: 3, modifiedAt },
      sha256,
      bytes: 3,
      contentType: "text/markdown",
    });
  const uploads = async () =>
    (await logOf(database, sessionId)).flatMap((event) =>
      event.type === "artifact.uploaded" ? [[event.path, event.sha256]] : [],
    );
  return { database, sessionId, ids, record, uploads, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

test("the same content under the same path is recorded and said once, however often it is uploaded", async () => {
  await using turn = await aTurn();

  const made = await Promise.all([1, 2, 3].map(() => turn.record("outputs/a.md", "aa", 1)));

  expect(made.filter(Boolean)).toHaveLength(1);
  expect(await turn.uploads()).toEqual([["outputs/a.md", "aa"]]);
  expect(await listArtifacts(turn.database, turn.sessionId)).toMatchObject([
    { path: "outputs/a.md", sha256: "aa", bytes: 3, contentType: "text/markdown", turnId: turn.ids.turnId },
  ]);
});

test("a file that changes is another artifact, and the old one stays", async () => {
  await using turn = await aTurn();

  expect(await turn.record("a", "aa", 1)).toBe(true);
  expect(await turn.record("a", "bb", 2)).toBe(true);

  expect(await turn.uploads()).toEqual([
    ["a", "aa"],
    ["a", "bb"],
  ]);
});

test("a file that goes from A to B and back to A is said twice, and is known as it is now", async () => {
  await using turn = await aTurn();
  await turn.record("a", "aa", 1);
  await turn.record("a", "bb", 2);

  expect(await turn.record("a", "aa", 3)).toBe(false);

  expect(await turn.uploads()).toHaveLength(2);
  const known = await knownFiles(turn.database, turn.sessionId);
  expect(isKnown(known, { path: "a", bytes: 3, modifiedAt: 3 })).toBe(true);
  expect(isKnown(known, { path: "a", bytes: 3, modifiedAt: 2 })).toBe(false);
});

test("equal content under two paths is two artifacts and one blob", async () => {
  await using turn = await aTurn();
  await turn.record("a", "aa", 1);
  await turn.record("b", "aa", 1);

  expect(await turn.uploads()).toHaveLength(2);
  expect(await turn.database.read.selectFrom("blobs").selectAll().execute()).toHaveLength(1);
});

test("a file is known only as it was: another size, another time (by less than a millisecond) or path is new", async () => {
  await using turn = await aTurn();
  await turn.record("a", "aa", 1_795_000_000_000.125);
  const known = await knownFiles(turn.database, turn.sessionId);

  expect(isKnown(known, { path: "a", bytes: 3, modifiedAt: 1_795_000_000_000.125 })).toBe(true);
  expect(isKnown(known, { path: "a", bytes: 3, modifiedAt: 1_795_000_000_000.5 })).toBe(false);
  expect(isKnown(known, { path: "a", bytes: 4, modifiedAt: 1_795_000_000_000.125 })).toBe(false);
  expect(isKnown(known, { path: "b", bytes: 3, modifiedAt: 1_795_000_000_000.125 })).toBe(false);
});

test("an upload for a session that is gone leaves nothing", async () => {
  await using turn = await aTurn();
  const upload = { scanned: { path: "a", bytes: 1, modifiedAt: 1 }, sha256: "zz", bytes: 1, contentType: "x/y" };

  const recorded = recordArtifact(turn.database, { sessionId: "gone", turnId: turn.ids.turnId }, upload);

  await expect(recorded).rejects.toMatchObject({ name: "SupersededError" });
  expect(await turn.database.read.selectFrom("blobs").selectAll().execute()).toEqual([]);
  expect(await knownFiles(turn.database, "gone")).toEqual(new Map());
});
