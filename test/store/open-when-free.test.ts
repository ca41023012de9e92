/** A store that is locked, or has no space, when a process starts: waited for, said, and not for ever. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { openStoreWhenFree } from "../../store/open-when-free.ts";

class Folder implements Disposable {
  readonly path = mkdtempSync(path.join(tmpdir(), "perdure-waiting-"));
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Another program that has the new database to itself. */
function locked(folder: Folder): DatabaseSync {
  const other = new DatabaseSync(path.join(folder.path, "perdure.db"));
  other.exec("begin exclusive");
  return other;
}

test("a locked store is opened as soon as it is free, and once it is said what is waited for", {
  timeout: 30_000,
}, async () => {
  using folder = new Folder();
  const other = locked(folder);
  const said: string[] = [];
  const say = (reason: string): void => {
    said.push(reason);
    other.exec("rollback");
    other.close();
  };

  await using store = await openStoreWhenFree(folder.path, { signal: new AbortController().signal, say });

  expect(store.stack).toMatch(/./);
  expect(said).toEqual(["another process has the store's database locked"]);
});

test("a store that stays locked is given up in words", { timeout: 30_000 }, async () => {
  using folder = new Folder();
  const other = locked(folder);
  const say = (): void => undefined;

  const opening = openStoreWhenFree(folder.path, { signal: new AbortController().signal, say, forMs: 100 });

  await expect(opening).rejects.toThrow(/database locked; waited 0.1 s for it: free some space, or end/);
  other.close();
});

test("what will not pass is not waited for, and a process that is told to stop does not wait", {
  timeout: 30_000,
}, async () => {
  using folder = new Folder();
  const other = locked(folder);
  const said: string[] = [];
  const say = (reason: string): void => void said.push(reason);

  await expect(openStoreWhenFree(folder.path, { signal: AbortSignal.abort(), say })).rejects.toMatchObject({
    kind: "locked",
  });
  other.close();
  const nowhere = path.join("/proc", "no-folder");
  await expect(openStoreWhenFree(nowhere, { signal: new AbortController().signal, say })).rejects.toThrow();

  expect(said).toEqual([]);
});
