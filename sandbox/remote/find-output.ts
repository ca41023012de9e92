/** Reads what `find_below` prints, in both of its forms: a find that prints what it is told, or one with stat and readlink. */
import { textOfName } from "../file-names.ts";
import type { FileInfo } from "../provider.ts";
import { SandboxError } from "../provider.ts";
import { kindOf } from "./remote-files.ts";

export interface FoundEntry {
  /** Relative to the folder that was looked through. */
  readonly name: string;
  readonly kind: FileInfo["kind"];
  readonly bytes: number;
  readonly mode: number;
  /** Milliseconds since 1970, as finely as the system tells. */
  readonly modifiedAt: number;
  readonly version: string;
  readonly target: string;
}

const FORM_BYTES_MAX = 64;
/** A record is a path, a target and some numbers. */
const RECORD_BYTES_MAX = 64 * 1024;
/** The plain form is read when it is whole. */
const PLAIN_BYTES_MAX = 128 * 1024 * 1024;

export class FindOutput {
  #form: "printf" | "stat" | undefined;
  #pending: Buffer[] = [];
  #bytes = 0;

  /** What came so far, when it is not understood. */
  get begun(): Buffer {
    return Buffer.concat(this.#pending).subarray(0, 256);
  }

  *take(piece: Uint8Array): Generator<FoundEntry, void, void> {
    this.#pending.push(Buffer.from(piece));
    this.#bytes += piece.length;
    if (this.#form === undefined) this.#readForm();
    if (this.#form === "printf") yield* this.#printed();
    if (this.#bytes > (this.#form === "printf" ? RECORD_BYTES_MAX : PLAIN_BYTES_MAX)) throw notUnderstood();
  }

  *finish(): Generator<FoundEntry, void, void> {
    if (this.#form === "stat") yield* statEntries(Buffer.concat(this.#pending));
    else if (this.#bytes > 0 || this.#form === undefined) throw notUnderstood();
  }

  #readForm(): void {
    const all = Buffer.concat(this.#pending);
    const end = all.indexOf("\n");
    if (end < 0 && all.length > FORM_BYTES_MAX) throw notUnderstood();
    if (end < 0) return;
    const form = all.toString("latin1", 0, end);
    if (form !== "printf" && form !== "stat") throw notUnderstood();
    this.#form = form;
    this.#keep(all.subarray(end + 1));
  }

  /** Records of two fields, each with a NUL at its end: numbers and the path, and where a symlink points. */
  *#printed(): Generator<FoundEntry, void, void> {
    const all = Buffer.concat(this.#pending);
    let at = 0;
    while (true) {
      const middle = all.indexOf(0, at);
      const end = middle < 0 ? -1 : all.indexOf(0, middle + 1);
      if (end < 0) break;
      yield printedEntry(textOfName(all.subarray(at, middle)), textOfName(all.subarray(middle + 1, end)));
      at = end + 1;
    }
    this.#keep(all.subarray(at));
  }

  #keep(rest: Buffer): void {
    this.#pending = rest.length === 0 ? [] : [rest];
    this.#bytes = rest.length;
  }
}

const PRINTED =
  /^(\w) ([0-7]{1,5}) (\d{1,16}) (-?\d{1,12})(\.\d{1,12})? (-?\d{1,12}(?:\.\d{1,12})?) (\d{1,20}) ([\s\S]+)$/;
const KINDS: Readonly<Record<string, FileInfo["kind"]>> = { f: "file", d: "folder", l: "symlink" };

function printedEntry(numbers: string, target: string): FoundEntry {
  const found = PRINTED.exec(numbers);
  if (found === null) throw notUnderstood();
  const [, type = "", mode = "", bytes = "", seconds = "", fraction = "", changed = "", inode = "", name = ""] = found;
  return {
    name: checkedName(name),
    kind: KINDS[type] ?? "other",
    bytes: Number(bytes),
    mode: Number.parseInt(mode, 8) & 0o7777,
    modifiedAt: Number(seconds) * 1_000 + Number(`0${fraction || ".0"}`) * 1_000,
    version: `${inode}-${changed}-${bytes}`,
    target,
  };
}

/** No path holds `//`, so ` .//` begins one, and a line that begins with numbers before it begins a record. */
const STAT_RECORD =
  /(?:^|\n)([0-9a-f]{1,8}) (\d{1,16}) (-?\d{1,12})\|[-\d]+ [\d:]+(\.\d{1,9})?[^|\n]{0,8}\|(-?\d{1,12})\|[-\d]+ [\d:]+(\.\d{1,9})?[^|\n]{0,8}\|(\d{1,20}) \.\/\//g;
const LINKS = /\n([0-9a-f]{32})-links\n/;

function* statEntries(output: Buffer): Generator<FoundEntry, void, void> {
  const all = textOfName(output);
  const links = LINKS.exec(all);
  if (links === null) throw notUnderstood();
  const targets = linkTargets(all.slice(links.index + links[0].length), links[1] ?? "");
  const stats = all.slice(0, links.index);
  const found = [...stats.matchAll(STAT_RECORD)];
  for (const [index, record] of found.entries()) {
    const name = stats.slice(
      record.index + record[0].length,
      found[index + 1]?.index ?? stats.replace(/\n$/, "").length,
    );
    if (name === "") continue; // The folder itself.
    const [, mode = "", bytes = "", seconds = "", fraction = "", changed = "", changedFraction = "", inode = ""] =
      record;
    const kind = kindOf(Number.parseInt(mode, 16));
    yield {
      name: checkedName(name),
      kind,
      bytes: Number(bytes),
      mode: Number.parseInt(mode, 16) & 0o7777,
      modifiedAt: Number(seconds) * 1_000 + Number(`0${fraction || ".0"}`) * 1_000,
      version: `${inode}-${changed}${changedFraction}-${bytes}`,
      target: kind === "symlink" ? (targets.get(name) ?? "") : "",
    };
  }
}

/** Name, mark, target and a line break, with a mark before each of them. */
function linkTargets(output: string, mark: string): ReadonlyMap<string, string> {
  const targets = new Map<string, string>();
  const parts = output.split(mark).slice(1);
  for (let i = 0; i + 1 < parts.length; i += 2) {
    targets.set((parts[i] ?? "").replace(/^\.\/\//, ""), (parts[i + 1] ?? "").replace(/\n$/, ""));
  }
  return targets;
}

function checkedName(name: string): string {
  const isPlain = !name.split("/").some((part) => part === "" || part === "." || part === "..");
  if (isPlain) return name;
  throw notUnderstood();
}

function notUnderstood(): SandboxError {
  return new SandboxError("failed", "the sandbox does not work as it should: its list of files cannot be read");
}
