/**
 * The runtime's log of one session, in memory: all of its state, and the only file that it reads or writes.
 *
 * The runtime knows a session by an id that is new each time it is opened, so that nothing late of one attempt can reach
 * another. What is kept has one fixed id instead: the text of a step then begins with the text of the step before.
 */
import type { SessionFsProvider } from "@github/copilot-sdk";

const STATE_DIR = "/state";
const LOG = `${STATE_DIR}/events.jsonl`;
/** Stands in kept logs for the runtime's id. */
export const KEPT_ID = "5e551085-0000-4000-8000-706572647572";

/** Where the runtime looks for its sessions: a folder that exists only in this file. It works in one that every host has. */
export const SESSION_FS = { initialCwd: "/", sessionStatePath: STATE_DIR, conventions: "posix" } as const;

export class SessionLog implements SessionFsProvider {
  readonly #id: string;
  readonly #pieces: string[];
  /** What the store does not hold yet; undefined when all of it must be kept anew. */
  #added: string[] | undefined;
  readonly #others = new Map<string, string>();
  #isFrozen = false;
  #isDisturbed = false;

  /** @param isKept The text is what the store holds, so that only what is added to it must be kept. */
  constructor(text: string, options: { readonly id: string; readonly isKept: boolean }) {
    this.#id = options.id;
    this.#added = options.isKept ? [] : undefined;
    this.#pieces = [withId(text, KEPT_ID, options.id)];
  }

  /** Something was written that belongs to no step: the runtime's log is longer than the one that is kept. */
  get isDisturbed(): boolean {
    return this.#isDisturbed;
  }

  /** What later writes say belongs to no step, and goes nowhere. */
  freeze(): void {
    this.#isFrozen = true;
  }

  /** What is written from here on belongs to the next step. */
  thaw(): void {
    this.#isFrozen = false;
  }

  /** What is to be kept of the log since it was last asked: what was added to it, or the whole when that is new. */
  takeChange(): { readonly append: string } | { readonly replace: string } {
    const added = this.#added;
    this.#added = [];
    const text = withoutResumes(withId((added ?? this.#pieces).join(""), this.#id, KEPT_ID));
    return added === undefined ? { replace: text } : { append: text };
  }

  async readFile(path: string): Promise<string> {
    if (path !== LOG) return this.#other(path);
    if (this.#pieces.length === 0) throw missing(path);
    return this.#pieces.join("");
  }

  async writeFile(path: string, content: string): Promise<void> {
    if (this.#refuses(path)) return;
    if (path !== LOG) {
      this.#others.set(path, content);
      return;
    }
    this.#pieces.splice(0, Number.POSITIVE_INFINITY, content);
    this.#added = undefined;
  }

  async appendFile(path: string, content: string): Promise<void> {
    if (this.#refuses(path)) return;
    if (path !== LOG) {
      this.#others.set(path, (this.#others.get(path) ?? "") + content);
      return;
    }
    this.#pieces.push(content);
    this.#added?.push(content);
  }

  async exists(path: string): Promise<boolean> {
    return path === LOG ? this.#pieces.length > 0 : this.#others.has(path);
  }

  async stat(path: string): Promise<Awaited<ReturnType<SessionFsProvider["stat"]>>> {
    const content = await this.readFile(path);
    const at = new Date().toISOString();
    return { isFile: true, isDirectory: false, size: Buffer.byteLength(content), mtime: at, birthtime: at };
  }

  async mkdir(): Promise<void> {}

  async readdir(): Promise<string[]> {
    return [];
  }

  async readdirWithTypes(): Promise<[]> {
    return [];
  }

  async rm(path: string): Promise<void> {
    if (this.#refuses(path)) return;
    if (path !== LOG) {
      this.#others.delete(path);
      return;
    }
    this.#pieces.length = 0;
    this.#added = undefined;
  }

  async rename(from: string, to: string): Promise<void> {
    const content = await this.readFile(from);
    await this.rm(from);
    await this.writeFile(to, content);
  }

  #refuses(path: string): boolean {
    if (this.#isFrozen && path === LOG) this.#isDisturbed = true;
    return this.#isFrozen;
  }

  #other(path: string): string {
    const content = this.#others.get(path);
    if (content === undefined) throw missing(path);
    return content;
  }
}

/** Only where the runtime has put it: a quote inside a text is escaped, so no text of a model or a tool is changed. */
function withId(text: string, from: string, to: string): string {
  return text.replaceAll(`"sessionId":"${from}"`, () => `"sessionId":"${to}"`);
}

/**
 * Without the notes that the session was resumed, one of each step: for each of them that it finds the runtime walks
 * through the whole log once more. The line behind such a note is told that it follows the line before it.
 */
function withoutResumes(text: string): string {
  const lines: string[] = [];
  let removed: { readonly parentId?: unknown } | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith('{"type":"session.resume",')) {
      removed ??= JSON.parse(line) as { parentId?: unknown };
    } else if (removed !== undefined && line !== "") {
      lines.push(JSON.stringify({ ...(JSON.parse(line) as object), parentId: removed.parentId }));
      removed = undefined;
    } else {
      lines.push(line);
    }
  }
  return lines.join("\n");
}

function missing(path: string): Error {
  return Object.assign(new Error(`there is no ${path}`), { code: "ENOENT" });
}
