/** What a session of the sandbox chaos is told to do: commands that leave their mark in the workspace, and files to be there. */
import { createHash } from "node:crypto";
import type { ScriptStep } from "../../test/support/model-endpoint.ts";
import { scripted } from "../../test/support/world.ts";
import { createRandom, type Random } from "../chaos/random.ts";

/** Each start of a command adds a line to it: the command's label, and a word that no other start has. */
export const STARTS_FILE = "starts.log";
/** Whose files are counted, each with its digest. */
export const KEPT_FOLDER = "kept";
const LARGE_BYTES = 1_500_000;

export interface ScriptedCall {
  /** In its arguments and in those of no other call; a command writes it into STARTS_FILE. */
  readonly label: string;
  readonly kind: "look" | "make" | "write" | "talk";
  /** What a command prints when it runs to its end; of a look only the last line. */
  readonly stdout: string;
  /** The file that is there when it has run to its end. */
  readonly file?: KeptFile;
}

export interface KeptFile {
  readonly path: string;
  readonly sha256: string;
}

export interface ScriptedTurn {
  readonly id: string;
  readonly content: string;
  /** Before it is posted. */
  readonly pauseMs: number;
}

export interface SandboxScript {
  readonly token: string;
  readonly turns: readonly ScriptedTurn[];
  readonly calls: readonly ScriptedCall[];
}

export function writeSandboxScript(options: {
  readonly seed: number;
  readonly token: string;
  readonly turns: number;
}): SandboxScript {
  const author = new Author(options.token, createRandom(options.seed));
  return author.write(options.turns);
}

type ToolCall = NonNullable<ScriptStep["tools"]>[number];

class Author {
  readonly #token: string;
  readonly #random: Random;
  readonly #calls: ScriptedCall[] = [];

  constructor(token: string, random: Random) {
    this.#token = token;
    this.#random = random;
  }

  write(count: number): SandboxScript {
    const turns = Array.from({ length: count }, (_, index) => this.#turn(index));
    return { token: this.#token, turns: [...turns, this.#lastTurn(count)], calls: this.#calls };
  }

  #turn(index: number): ScriptedTurn {
    const works = Array.from({ length: this.#random.whole(1, 3) }, () => this.#work());
    // Each turn looks first at what there is, so that whatever a loss took shows.
    const steps: ScriptStep[] = [{ tools: [this.#look()] }, ...works.map((tools) => ({ tools })), { text: "done" }];
    return this.#asTurn(index, steps);
  }

  #lastTurn(index: number): ScriptedTurn {
    return this.#asTurn(index, [{ tools: [this.#look()] }, { text: "all is done" }]);
  }

  #asTurn(index: number, steps: readonly ScriptStep[]): ScriptedTurn {
    const pauseMs = this.#random.oneOf([0, 0, 100, 400]);
    return { id: `${this.#token}-t${index}`, content: scripted(...steps), pauseMs };
  }

  #work(): readonly ToolCall[] {
    const draw = this.#random.between(0, 1);
    if (draw < 0.45) return [this.#make()];
    if (draw < 0.65) return [this.#writeFile()];
    // Two at once only where nothing depends on their order.
    return draw < 0.85 ? [this.#talk()] : [this.#talk(), this.#talk()];
  }

  /** Prints the digest of each kept file. */
  #look(): ToolCall {
    const { label, mark } = this.#start();
    const last = `${label} has looked`;
    this.#calls.push({ label, kind: "look", stdout: `${last}\n` });
    return bash(`${mark}; for f in ${KEPT_FOLDER}/*; do [ ! -f "$f" ] || sha256sum "$f"; done; echo ${last}`);
  }

  /** Makes a file at one instant, in the middle of its time. */
  #make(): ToolCall {
    const { label, mark } = this.#start();
    const isLarge = this.#random.chance(0.15);
    const content = isLarge ? "x".repeat(LARGE_BYTES) : `${label} made this\n`;
    const print = isLarge ? `head -c ${LARGE_BYTES} /dev/zero | tr '\\0' x` : `echo ${label} made this`;
    const path = `${KEPT_FOLDER}/${label}.txt`;
    const file = { path, sha256: sha256(content) };
    this.#calls.push({ label, kind: "make", stdout: `${label} begins\n${label} ends\n`, file });
    const parts = [
      ...[mark, `echo ${label} begins`, this.#pause(0.05, 0.4), `mkdir -p ${KEPT_FOLDER}`],
      ...[`${print} > ${label}.tmp`, `mv ${label}.tmp ${path}`, this.#pause(0.05, 0.4), `echo ${label} ends`],
    ];
    return bash(parts.join("; "));
  }

  #writeFile(): ToolCall {
    const label = this.#label();
    const content = `${label} wrote this\n`.repeat(this.#random.whole(1, 500));
    const path = `${KEPT_FOLDER}/${label}.txt`;
    this.#calls.push({ label, kind: "write", stdout: "", file: { path, sha256: sha256(content) } });
    return { name: "write_file", args: { path, content } };
  }

  /** Prints line after line, long enough to be killed in its middle. */
  #talk(): ToolCall {
    const { label, mark } = this.#start();
    const lines = this.#random.whole(10, 40);
    const said = Array.from({ length: lines }, (_, i) => `${label} says ${i} é\n`).join("");
    this.#calls.push({ label, kind: "talk", stdout: said });
    return bash(`${mark}; i=0; while [ $i -lt ${lines} ]; do echo "${label} says $i é"; i=$((i+1)); sleep 0.04; done`);
  }

  #start(): { readonly label: string; readonly mark: string } {
    const label = this.#label();
    return { label, mark: `echo "${label} $(date +%s%N)-$$" >> ${STARTS_FILE}` };
  }

  #label(): string {
    return `${this.#token}.c${String(this.#calls.length).padStart(3, "0")}`;
  }

  #pause(low: number, high: number): string {
    return `sleep ${this.#random.between(low, high).toFixed(2)}`;
  }
}

function bash(command: string): ToolCall {
  return { name: "bash", args: { command } };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
