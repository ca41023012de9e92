/** The commands and files of one session's script, with what must be left of each. */
import type { Random } from "./random.ts";
import { ASKS, type ScriptedArtifact, type ScriptedCall, type ScriptedCommand } from "./script.ts";

export interface CommandsPlace {
  readonly random: Random;
  readonly token: string;
  readonly effectsFile: string;
}

export class Commands {
  /** Those that must run. */
  readonly commands: ScriptedCommand[] = [];
  readonly artifacts: ScriptedArtifact[] = [];
  readonly #place: CommandsPlace;
  #labels = 0;
  #files = 0;

  constructor(place: CommandsPlace) {
    this.#place = place;
  }

  newLabel(): string {
    return `${this.#place.token}.c${this.#labels++}`;
  }

  /** A command that runs for up to seconds, prints this and that, and is not asked about. */
  some(): ScriptedCall {
    const { random } = this.#place;
    const label = this.newLabel();
    const pause = (): string => `sleep ${random.between(0.05, 0.6).toFixed(2)}`;
    const draw = random.between(0, 1);
    const parts = [this.mark(label), `echo "${label} begins – ü漢"`, pause()];
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
    this.commands.push({ label, stdout, stderr });
    return bash(parts.join("; "));
  }

  /** One that prints and then goes on for ever. */
  endless(): { readonly call: ScriptedCall; readonly mark: string } {
    const label = this.newLabel();
    this.commands.push({ label, stdout: `${label} going\n`, stderr: "" });
    return { call: bash(`${this.mark(label)}; echo ${label} going; sleep 300`), mark: `echo ${label} going` };
  }

  /** One that prints and then waits until the gate is there. */
  gated(): { readonly call: ScriptedCall; readonly gate: string } {
    const label = this.newLabel();
    const gate = `${this.#place.effectsFile}.${label}.gate`;
    this.commands.push({ label, stdout: `${label} waits\n`, stderr: "" });
    return { call: bash(`${this.mark(label)}; echo ${label} waits; until [ -e ${gate} ]; do sleep 0.05; done`), gate };
  }

  /** A command line that a person is asked about. It must run when `runs` is said of it. */
  asking(label: string): string {
    return `${ASKS} ${label}; ${this.mark(label)}; echo ${label} allowed`;
  }

  /** Notes that the command that is asked about will be allowed. */
  runs(label: string): void {
    this.commands.push({ label, stdout: `${label} allowed\n`, stderr: "" });
  }

  /** Written, changed and read again: a change made twice would show in what is read. */
  edits(): readonly ScriptedCall[] {
    this.#files += 1;
    const path = `notes/n${this.#files}.txt`;
    const write = { name: "write_file", args: { path, content: `${this.#place.token}\ncount: I\n` } };
    const edit = { name: "edit_file", args: { path, oldText: "count: I", newText: "count: II" } };
    const read = { name: "read_file", args: { path } };
    return [write, edit, edit, read];
  }

  artifact(): ScriptedCall {
    this.#files += 1;
    const path = `outputs/a${this.#files}.txt`;
    const content = `${this.#place.token} made ${path}\n`.repeat(this.#place.random.whole(1, 2_000));
    this.artifacts.push({ path, content });
    return { name: "write_file", args: { path, content } };
  }

  mark(label: string): string {
    return `echo ${label} >> ${this.#place.effectsFile}`;
  }
}

export function bash(command: string): ScriptedCall {
  return { name: "bash", args: { command } };
}
