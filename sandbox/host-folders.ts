/** Folders of a workspace, held open on the way down: none of them can be swapped meanwhile for a symlink that leads out. */
import { closeSync, constants, lstatSync, mkdirSync, openSync, type PathLike, type Stats, unlinkSync } from "node:fs";
import path from "node:path";
import { bytesOfText, inFolder } from "./file-names.ts";
import { descriptorPath } from "./paths.ts";
import { SandboxError } from "./provider.ts";

const FOLDER_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const PATH_BYTES_MAX = 4096;

/** Whether nothing of that path can be packed and laid again, be it a folder, whose name ends with `/` there. */
export function isTooDeep(path: string): boolean {
  return bytesOfText(path).length >= PATH_BYTES_MAX;
}

/** The parts of a path below the workspace. Throws SandboxError `denied` when it is absolute, goes up, or names nothing. */
export function partsInside(given: string): readonly string[] {
  const parts = given.split("/").filter((part) => part !== "" && part !== ".");
  const isHostile = given.startsWith("/") || parts.length === 0 || parts.includes("..") || given.includes("\0");
  if (isHostile || bytesOfText(given).length > PATH_BYTES_MAX) {
    throw new SandboxError("denied", `the path ${JSON.stringify(given.slice(0, 200))} leads out of the workspace`);
  }
  return parts;
}

/** What is at that place itself, symlinks not followed; undefined when nothing is. */
export function placeStats(place: PathLike): Stats | undefined {
  return lstatSync(place, { throwIfNoEntry: false });
}

/**
 * Goes from one folder to the next as paths come; neighbours share what is open. Where the system cannot name an open
 * folder (other than Linux) plain paths are used, each part checked not to be a symlink.
 */
export class HeldFolders implements Disposable {
  readonly #root: string;
  readonly #rootDescriptor: number;
  #held: { readonly name: string; readonly descriptor: number }[] = [];

  /** `root` must be a real path. */
  constructor(root: string) {
    this.#root = root;
    this.#rootDescriptor = openSync(root, FOLDER_FLAGS);
  }

  /** A path for the last of these parts, in its folder that is now held. Without `make` a missing folder is ENOENT. */
  place(parts: readonly string[], options: { readonly make?: boolean } = {}): string | Buffer {
    // Not by path.join, which would take the dot away: without it the name of the held root is a symlink.
    return inFolder(this.folder(parts.slice(0, -1), options), parts.at(-1) ?? ".");
  }

  /** A path of the folder with these parts, good until the next call. */
  folder(parts: readonly string[], { make = false }: { readonly make?: boolean } = {}): string {
    let shared = 0;
    while (shared < parts.length && this.#held[shared]?.name === parts[shared]) shared += 1;
    this.#letGo(shared);
    for (const name of parts.slice(shared)) this.#enter(name, parts, make);
    return this.#here();
  }

  [Symbol.dispose](): void {
    this.#letGo(0);
    closeSync(this.#rootDescriptor);
  }

  #enter(name: string, parts: readonly string[], make: boolean): void {
    const place = inFolder(this.#here(), name);
    try {
      this.#held.push({ name, descriptor: openSync(place, FOLDER_FLAGS) });
    } catch (thrown) {
      const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
      if (code === "ENOENT" && make) {
        mkdirSync(place);
        this.#held.push({ name, descriptor: openSync(place, FOLDER_FLAGS) });
      } else if (placeStats(place)?.isSymbolicLink()) {
        throw new SandboxError("denied", `${parts.join("/")}: ${name} is a symlink, expected a folder`);
      } else throw thrown;
    }
  }

  #here(): string {
    const held = descriptorPath(this.#held.at(-1)?.descriptor ?? this.#rootDescriptor);
    return held ?? path.join(this.#root, ...this.#held.map(({ name }) => name));
  }

  /** Keeps the first `count` of what is held. */
  #letGo(count: number): void {
    for (const { descriptor } of this.#held.splice(count)) closeSync(descriptor);
  }
}

/** Takes away what is no folder; undefined and folders are left. */
export function unlinkPlace(place: PathLike): void {
  const stats = placeStats(place);
  if (stats !== undefined && !stats.isDirectory()) unlinkSync(place);
}
