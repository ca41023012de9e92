/** What may be in an archive of a stranger: plain paths below its folder, no more than the caps, and no way out by a link. */
import path from "node:path";
import { LIMITS } from "../contract/limits.ts";
import { DownloadError } from "./download-fetch.ts";

export type EntryKind = "file" | "folder" | "symlink";

const NAME_BYTES_MAX = 255;
const SHOWN_CHARACTERS = 200;

export function refused(words: string, options?: ErrorOptions): DownloadError {
  return new DownloadError("ARCHIVE_REFUSED", `nothing was unpacked: ${words}`, options);
}

/** Every method throws ARCHIVE_REFUSED, or PAYLOAD_TOO_LARGE for a cap. */
export class ArchiveGuard {
  /** By path in the archive; folders that are only named by what is in them are in it, too. */
  readonly kinds = new Map<string, EntryKind>();
  readonly #archiveBytes: number;
  #entries = 0;
  #bytes = 0;
  #pathCharacters = 0;

  constructor(archiveBytes: number) {
    this.#archiveBytes = archiveBytes;
  }

  get entries(): number {
    return this.#entries;
  }

  /** Counts bytes that came out of it. */
  count(bytes: number): void {
    this.#bytes += bytes;
    this.checkSize(0);
  }

  /** Whether so many bytes more would be too many. */
  checkSize(more: number): void {
    const bytes = this.#bytes + more;
    if (bytes > LIMITS.archiveBytesMax) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", `the archive holds more than ${LIMITS.archiveBytesMax} bytes`);
    }
    const { archiveRatioMax: ratio, archiveRatioFromBytes: from } = LIMITS;
    if (bytes > from && bytes > ratio * this.#archiveBytes) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", `the archive grows to more than ${ratio} times its size`);
    }
  }

  /** The entry's path; "" is the archive's own folder. */
  enter(name: string, kind: EntryKind): string {
    this.#entries += 1;
    if (this.#entries > LIMITS.archiveEntriesMax) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", `the archive has more than ${LIMITS.archiveEntriesMax} entries`);
    }
    const parts = entryParts(name);
    const place = parts.join("/");
    for (let length = 1; length < parts.length; length++) this.#take(parts.slice(0, length).join("/"), "folder");
    if (place !== "") this.#take(place, kind);
    else if (kind !== "folder") throw refused(`${shown(name)} is no path`);
    return place;
  }

  /** A link may lead to anything in the archive's own folder. */
  checkTarget(place: string, target: string): void {
    const where = `the symlink ${shown(place)} leads to ${shown(target)}`;
    if (target === "" || target.includes("\0")) throw refused(`${where}, which is no path`);
    if (target.startsWith("/")) throw refused(`${where}, an absolute path`);
    const parts = target.split("/");
    const climbed = parts.findIndex((part) => part !== ".." && part !== "." && part !== "");
    // From a folder of ours, `..` leads where it says; behind a symlink it need not.
    if (climbed !== -1 && parts.slice(climbed).includes("..")) throw refused(`${where}, with .. behind a name`);
    const joined = path.posix.join(path.posix.dirname(place), target);
    if (joined === ".." || joined.startsWith("../")) throw refused(`${where}, out of its folder`);
  }

  #take(place: string, kind: EntryKind): void {
    const before = this.kinds.get(place);
    if (before !== undefined && before !== kind) {
      throw refused(`${shown(place)} is a ${before} and a ${kind} in it`);
    }
    if (before === undefined) this.#countPath(place);
    this.kinds.set(place, kind);
  }

  /** Folders that are only named by what is in them are as good as entries: deep paths hold thousands of them. */
  #countPath(place: string): void {
    this.#pathCharacters += place.length;
    if (this.kinds.size >= LIMITS.archiveEntriesMax || this.#pathCharacters > LIMITS.archivePathsMax) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", "the archive has too many files and folders, or too long paths");
    }
  }
}

function entryParts(name: string): readonly string[] {
  const where = `the entry ${shown(name)}`;
  if (name.includes("\0")) throw refused(`${where} has a NUL character`);
  if (name.startsWith("/") || /^[A-Za-z]:[\\/]/.test(name)) throw refused(`${where} has an absolute path`);
  if (name.length > LIMITS.pathCharactersMax) throw refused(`${where} has a path that is too long`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw refused(`${where} leads out by ..`);
  if (parts.some((part) => Buffer.byteLength(part) > NAME_BYTES_MAX)) throw refused(`${where} has too long a name`);
  return parts;
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, SHOWN_CHARACTERS));
}
