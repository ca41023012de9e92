/** Writes a session's script, which a seed decides. */
import type { ScriptStep } from "../../test/support/model-endpoint.ts";
import { scripted } from "../../test/support/world.ts";
import { bash, Commands } from "./commands.ts";
import { createRandom, type Random } from "./random.ts";
import {
  type Act,
  type ActOf,
  ASKING_POLICY,
  type GatedMessage,
  type ScriptedDecision,
  type ScriptedMessage,
  type ScriptPlace,
  type SessionScript,
} from "./script.ts";

/** Of the sessions, those with a policy that asks. */
const ASKING_SHARE = 0.6;

export function writeScript(place: ScriptPlace): SessionScript {
  return new Author(place).write();
}

class Author {
  readonly #place: ScriptPlace;
  readonly #random: Random;
  readonly #commands: Commands;
  readonly #asks: boolean;
  #messages = 0;

  constructor(place: ScriptPlace) {
    this.#place = place;
    this.#random = createRandom(place.seed);
    this.#commands = new Commands({ ...place, random: this.#random });
    this.#asks = this.#random.chance(ASKING_SHARE);
  }

  write(): SessionScript {
    const { token, backend, size } = this.#place;
    const acts = Array.from({ length: this.#random.whole(1, size.acts) }, () => this.#act());
    const { commands, artifacts } = this.#commands;
    const agent = { backend, ...(this.#asks && { policy: ASKING_POLICY }) };
    return { token, agent, acts, commands, artifacts };
  }

  #act(): Act {
    const draw = this.#random.between(0, 1);
    if (this.#asks && draw < 0.3) return this.#decide();
    if (this.#asks && draw < 0.35) return this.#abandon();
    if (draw < 0.45) return this.#interrupt();
    if (draw < 0.52) return { ...this.#interrupt(), type: "replace", next: this.#message() };
    if (draw < 0.58) return this.#cut();
    if (draw < 0.7) return { type: "steer", message: this.#gated(), joining: this.#message() };
    if (draw < 0.78) return this.#remove();
    const count = draw < 0.86 ? this.#random.whole(2, 3) : 1;
    const messages = Array.from({ length: count }, () => this.#message());
    // With no turn running there is none to join: it gets a turn of its own.
    return { type: "messages", mode: count === 1 && this.#random.chance(0.3) ? "steer" : "queue", messages };
  }

  #message(): ScriptedMessage {
    const steps = Array.from({ length: this.#random.whole(1, this.#place.size.works) }, () => this.#steps()).flat();
    const text = `${this.#place.token} is done with this. `.repeat(this.#random.whole(1, 12));
    return this.#asMessage([...steps, { text, gapMs: this.#random.oneOf([0, 5, 20]) }]);
  }

  #interrupt(): ActOf<"interrupt"> {
    const { call, mark } = this.#commands.endless();
    const message = this.#asMessage([{ tools: [call] }, { text: "nobody ever sees this" }]);
    return { type: "interrupt", message: { ...message, mark } };
  }

  #cut(): ActOf<"cut"> {
    const text = "These words are said one after another and then no more. ".repeat(this.#random.whole(2, 10));
    return { type: "cut", message: this.#asMessage([{ text, gapMs: 10, stall: true }]) };
  }

  #gated(): GatedMessage {
    const { call, gate } = this.#commands.gated();
    return { ...this.#asMessage([{ tools: [call] }, { text: "It was not joined by any other." }]), gate };
  }

  #remove(): ActOf<"remove"> {
    const removed = this.#asMessage([{ text: "nobody ever asks for this" }]);
    return { type: "remove", message: this.#gated(), removed, mode: this.#random.oneOf(["queue", "steer"]) };
  }

  #decide(): ActOf<"decide"> {
    const labels = Array.from({ length: this.#random.whole(1, 3) }, () => this.#commands.newLabel());
    const asking = labels.map((label) => bash(this.#commands.asking(label)));
    // Beside what waits for a person, what need not wait runs.
    const tools = this.#random.chance(0.4) ? [...asking, this.#commands.some()] : asking;
    const message = this.#asMessage([{ tools }, ...this.#steps(), { text: "That is what was decided." }]);
    const decisions = labels.map((label) => this.#decision(label));
    return { type: "decide", message, decisions: this.#random.chance(0.5) ? decisions : decisions.toReversed() };
  }

  #decision(label: string): ScriptedDecision {
    const then = this.#random.oneOf(["nothing", "repeat", "contradict"] as const);
    const draw = this.#random.between(0, 1);
    if (draw < 0.3) {
      return { label, then, body: { decision: "deny", reason: `${label} is not to be done` } };
    }
    if (draw < 0.75) {
      this.#commands.runs(label);
      return { label, then, body: { decision: "approve" } };
    }
    const other = this.#commands.newLabel();
    this.#commands.runs(other);
    return { label, then, body: { decision: "approve", arguments: { command: this.#commands.asking(other) } } };
  }

  #abandon(): ActOf<"abandon"> {
    const label = this.#commands.newLabel();
    const tools = [bash(this.#commands.asking(label))];
    return { type: "abandon", label, message: this.#asMessage([{ tools }, { text: "nobody ever sees this" }]) };
  }

  #asMessage(steps: readonly ScriptStep[]): ScriptedMessage {
    this.#messages += 1;
    return { id: `${this.#place.token}-m${this.#messages}`, content: scripted(...steps) };
  }

  #steps(): readonly ScriptStep[] {
    const kinds = ["command", "command", "command", "parallel", "files", "artifact", "flaky"] as const;
    switch (this.#random.oneOf(kinds)) {
      case "command":
        return [{ ...this.#words(), tools: [this.#commands.some()] }];
      case "parallel": {
        const list = { name: "list_files", args: {} };
        return [{ tools: [this.#commands.some(), this.#commands.some(), list] }];
      }
      case "files":
        return this.#commands.edits().map((call) => ({ tools: [call] }));
      case "artifact":
        return [{ tools: [this.#commands.artifact()] }];
      case "flaky":
        return [{ fails: { status: 500, times: 1 }, tools: [this.#commands.some()] }];
    }
  }

  #words(): ScriptStep {
    if (this.#random.chance(0.5)) return {};
    const text = "Let me look into that and say a word or two about it first. ".repeat(this.#random.whole(1, 8));
    return { think: "What would a careful person do here?", text, gapMs: this.#random.oneOf([0, 5, 15]) };
  }
}
