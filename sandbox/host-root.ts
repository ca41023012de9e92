/** The folder of all sandboxes of one host: which there are, and how one of them leaves for everybody at once. */
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import { rename } from "node:fs/promises";
import path from "node:path";
import { SandboxId } from "../contract/ids.ts";
import { removeTree } from "./host-removal.ts";
import type { ListedSandbox } from "./provider.ts";

export function listFolders(root: string): readonly ListedSandbox[] {
  const names = existsSync(root) ? readdirSync(root) : [];
  return names.flatMap((name) => {
    const id = SandboxId.safeParse(name);
    const made = statSync(path.join(root, name), { throwIfNoEntry: false });
    return id.success && made?.isDirectory() ? [{ id: id.data, madeAt: made.birthtimeMs }] : [];
  });
}

/**
 * Moves the folder away, so that a start which is on its way finds no place to claim its call in; then lets `end` end what
 * runs, and removes the rest. `end` gets the folder under its new and its former name. A missing one is not an error.
 */
export async function removeSandboxFolder(
  folder: string,
  end: (doomed: string, former: string) => void | Promise<void>,
): Promise<void> {
  if (!existsSync(folder)) return;
  const real = realpathSync(folder);
  const doomed = path.join(path.dirname(real), `.removed-${randomUUID()}`);
  await rename(real, doomed).catch((thrown: unknown) => {
    if (!(thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")) throw thrown;
  });
  await end(doomed, real);
  await removeTree(doomed);
}

/** The real path of a sandbox's folder, whether it is there or not. */
export function realFolder(folder: string): string {
  const root = path.dirname(folder);
  return path.join(existsSync(root) ? realpathSync(root) : root, path.basename(folder));
}
