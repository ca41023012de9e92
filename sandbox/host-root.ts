/** The folder of all sandboxes of one host: which there are, and how one of them leaves for everybody at once. */
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { SandboxId } from "../contract/ids.ts";
import { removeTree } from "./host-removal.ts";
import type { ListedSandbox } from "./provider.ts";

const REMOVED = /^\.removed-(sbx_[A-Za-z0-9_-]+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Those that are there, and those whose removal a killed worker has left half done: removing one again completes it. */
export function listFolders(root: string): readonly ListedSandbox[] {
  const names = existsSync(root) ? readdirSync(root) : [];
  const listed = names.flatMap((name) => {
    const id = SandboxId.safeParse(REMOVED.exec(name)?.[1] ?? name);
    const made = statSync(path.join(root, name), { throwIfNoEntry: false });
    return id.success && made?.isDirectory() ? [{ id: id.data, madeAt: made.birthtimeMs }] : [];
  });
  return [...new Map(listed.map((one) => [one.id, one])).values()];
}

/**
 * Moves the folder away, so that a start which is on its way finds no place to claim its call in; then lets `end` end what
 * runs, and removes the rest. `end` gets the folder under its new and its former name. A missing one is not an error; what an
 * earlier removal, whose worker was killed, has left of it is ended and removed as well.
 */
export async function removeSandboxFolder(
  folder: string,
  end: (doomed: string, former: string) => void | Promise<void>,
): Promise<void> {
  const real = realFolder(folder);
  if (existsSync(folder)) {
    const doomed = path.join(path.dirname(real), `.removed-${path.basename(real)}-${randomUUID()}`);
    await rename(real, doomed).catch((thrown: unknown) => {
      if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")) throw thrown;
    });
  }
  for (const doomed of removedBefore(real)) {
    await end(doomed, real);
    await removeTree(doomed);
  }
}

function removedBefore(real: string): readonly string[] {
  const root = path.dirname(real);
  const names = existsSync(root) ? readdirSync(root) : [];
  return names.filter((name) => REMOVED.exec(name)?.[1] === path.basename(real)).map((name) => path.join(root, name));
}

/** The real path of a sandbox's folder, whether it is there or not. */
export function realFolder(folder: string): string {
  const root = path.dirname(folder);
  return path.join(existsSync(root) ? realpathSync(root) : root, path.basename(folder));
}
