/** What a session is told to do, and what must be left of it: its messages, its commands, its artifacts. */
import type { ScriptStep } from "../../test/support/model-endpoint.ts";
import { scripted } from "../../test/support/world.ts";
import { createRandom, type Random } from "./random.ts";

export interface ScriptedMessage {
  readonly id: string;
  readonly content: string;
}

export type Act =
  /** Posted one after another without waiting for their turns; all of them complete. */
  | { readonly type: "messages"; readonly messages: readonly ScriptedMessage[] }
  /** Interrupted once its command prints. */
  | { readonly type: "interrupt"; readonly message: EndlessMessage }
  /** Replaced by the next one once its command prints. */
  | { readonly type: "replace"; readonly message: EndlessMessage; readonly next: ScriptedMessage };

/** Its turn ends only when it is stopped. */
export interface EndlessMessage extends ScriptedMessage {
  /** Stands in the command line of what it runs, and nowhere else. */
  readonly mark: string;
}

/** A command, known by a label that no other has. */
export interface ScriptedCommand {
  readonly label: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ScriptedArtifact {
  readonly path: string;
  readonly content: string;
}

export interface SessionScript {
  readonly token: string;
  readonly acts: readonly Act[];
  readonly commands: readonly ScriptedCommand[];
  readonly artifacts: readonly ScriptedArtifact[];
}

export interface ScriptPlace {
  /** Two scripts of one seed differ in nothing but token and file. */
  readonly seed: number;
  /** The session's id, in every command and file of it; always as long, so that nothing else depends on it. */
  readonly token: string;
  /** Where each command leaves its label when it starts. */
  readonly effectsFile: string;
  /** Most acts of a session, and most kinds of work in a turn. */
  readonly size: ScriptSize;
}

export interface ScriptSize {
  readonly acts: number;
  readonly works: number;
}

export function writeScript(place: ScriptPlace): SessionScript {
  return new Author(place).write();
}

type Call = NonNullable<ScriptStep["tools"]>[number];

class Author {
  readonly #place: ScriptPlace;
  readonly #random: Random;
  readonly #commands: ScriptedCommand[] = [];
  readonly #artifacts: ScriptedArtifact[] = [];
  #messages = 0;
  #files = 0;

  constructor(place: ScriptPlace) {
    this.#place = place;
    this.#random = createRandom(place.seed);
  }

  write(): SessionScript {
    const acts = Array.from({ length: this.#random.whole(1, this.#place.size.acts) }, () => this.#act());
    const { token } = this.#place;
    return { token, acts, commands: this.#commands, artifacts: this.#artifacts };
  }

  #act(): Act {
    const draw = this.#random.between(0, 1);
    if (draw < 0.15) return { type: "interrupt", message: this.#endless() };
    if (draw < 0.25) return { type: "replace", message: this.#endless(), next: this.#message() };
    const count = draw < 0.4 ? this.#random.whole(2, 3) : 1;
    return { type: "messages", messages: Array.from({ length: count }, () => this.#message()) };
  }

  #message(): ScriptedMessage {
    const steps = Array.from({ length: this.#random.whole(1, this.#place.size.works) }, () => this.#steps()).flat();
    const text = `${this.#place.token} is done with this. `.repeat(this.#random.whole(1, 12));
    return this.#asMessage([...steps, { text, gapMs: this.#random.oneOf([0, 5, 20]) }]);
  }

  #endless(): EndlessMessage {
    const label = this.#newLabel();
    const command = `${this.#mark(label)}; echo ${label} going; sleep 300`;
    this.#commands.push({ label, stdout: `${label} going\n`, stderr: "" });
    const message = this.#asMessage([{ tools: [bash(command)] }, { text: "nobody ever sees this" }]);
    return { ...message, mark: `echo ${label} going` };
  }

  #asMessage(steps: readonly ScriptStep[]): ScriptedMessage {
    this.#messages += 1;
    return { id: `${this.#place.token}-m${this.#messages}`, content: scripted(...steps) };
  }

  #steps(): readonly ScriptStep[] {
    const kind = this.#random.oneOf([
      "command",
      "command",
      "command",
      "parallel",
      "files",
      "artifact",
      "flaky",
    ] as const);
    switch (kind) {
      case "command":
        return [{ ...this.#words(), tools: [this.#command()] }];
      case "parallel":
        return [{ tools: [this.#command(), this.#command(), { name: "list_files", args: {} }] }];
      case "files":
        return this.#fileSteps();
      case "artifact":
        return [{ tools: [this.#artifact()] }];
      case "flaky":
        return [{ fails: { status: 500, times: 1 }, tools: [this.#command()] }];
    }
  }

  #words(): ScriptStep {
    if (this.#random.chance(0.5)) return {};
    const text = "Let me look into that and say a word or two about it first. ".repeat(this.#random.whole(1, 8));
    return { think: "What would a careful person do here?", text, gapMs: this.#random.oneOf([0, 5, 15]) };
  }

  #command(): Call {
    const label = this.#newLabel();
    const pause = (): string => `sleep ${this.#random.between(0.05, 0.6).toFixed(2)}`;
    const draw = this.#random.between(0, 1);
    const parts = [this.#mark(label), `echo "${label} begins – ü漢"`, pause()];
    let [stdout, stderr] = [`${label} begins – ü漢\n`, ""];
    if (draw < 0.3) {
      parts.push(`i=0; while [ $i -lt 40 ]; do echo "${label} line $i of many é"; i=$((i+1)); sleep 0.02; done`);
      stdout += Array.from({ length: 40 }, (_, i) => `${label} line ${i} of many é\n`).join("");
    }
    if (draw > 0.6) {
      parts.push(`echo "${label} complains" >&2`, pause());
      stderr += `${label} complains\n`;
    }
    parts.push(pause(), `echo ${label} ends`);
    stdout += `${label} ends\n`;
    if (draw > 0.9) parts.push("exit 3");
    this.#commands.push({ label, stdout, stderr });
    return bash(parts.join("; "));
  }

  /** Written, changed and read again: a change made twice would show in what is read. */
  #fileSteps(): readonly ScriptStep[] {
    this.#files += 1;
    const path = `notes/n${this.#files}.txt`;
    const write = { name: "write_file", args: { path, content: `${this.#place.token}\ncount: I\n` } };
    const edit = { name: "edit_file", args: { path, oldText: "count: I", newText: "count: II" } };
    const read = { name: "read_file", args: { path } };
    return [write, edit, edit, read].map((call) => ({ tools: [call] }));
  }

  #artifact(): Call {
    this.#files += 1;
    const path = `outputs/a${this.#files}.txt`;
    const content = `${this.#place.token} made ${path}\n`.repeat(this.#random.whole(1, 2_000));
    this.#artifacts.push({ path, content });
    return { name: "write_file", args: { path, content } };
  }

  #newLabel(): string {
    return `${this.#place.token}.c${this.#commands.length}`;
  }

  #mark(label: string): string {
    return `echo ${label} >> ${this.#place.effectsFile}`;
  }
}

function bash(command: string): Call {
  return { name: "bash", args: { command } };
}
