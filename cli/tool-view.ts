/** Tool calls on the screen: their arguments in one line, their output indented and bounded, how they ended. */
import type { ToolOutcome } from "../contract/blocks.ts";
import type { SessionEventOf } from "../contract/events.ts";
import { LIMITS } from "../contract/limits.ts";
import { argumentsLine } from "./call-text.ts";
import { countText, durationText } from "./quantities.ts";
import type { Screen } from "./screen.ts";
import { safeLine } from "./terminal-text.ts";

type Stream = "stdout" | "stderr";

/** A call that has begun, as far as its output was shown. */
interface ShownCall {
  readonly label: string;
  readonly partial: Record<Stream, string>;
  shown: number;
  hidden: number;
}

const MARKS: Readonly<Record<ToolOutcome, { readonly mark: string; readonly colour: "green" | "red" | "yellow" }>> = {
  ok: { mark: "✓", colour: "green" },
  error: { mark: "✗", colour: "red" },
  denied: { mark: "✗", colour: "yellow" },
  interrupted: { mark: "■", colour: "yellow" },
  unknown: { mark: "?", colour: "yellow" },
};
const LABEL_CHARACTERS = 60;
const NAME_CHARACTERS = 60;

export class ToolView {
  readonly #screen: Screen;
  readonly #calls = new Map<string, ShownCall>();
  /** The call whose lines stand last on the screen; undefined when something else does. */
  #last: string | undefined;

  constructor(screen: Screen) {
    this.#screen = screen;
  }

  /** What runs now, in words; undefined when nothing does. */
  get running(): string | undefined {
    const [first, ...others] = this.#calls.values();
    if (!first) return undefined;
    return others.length === 0 ? first.label : `${others.length + 1} tools run`;
  }

  /** Something that is not of a tool was written. */
  leave(): void {
    this.#last = undefined;
  }

  /** The turn is over: what has not ended by now never will. */
  reset(): void {
    this.#calls.clear();
    this.#last = undefined;
  }

  started(event: SessionEventOf<"tool.started">): void {
    this.#begin(event.callId, event.name, argumentsLine(event.name, event.arguments));
  }

  output(event: SessionEventOf<"tool.output">): void {
    const call = this.#calls.get(event.callId) ?? this.#begin(event.callId, "tool", "");
    const text = call.partial[event.stream] + event.text;
    const lines = text.split(/\r\n|\n|\r(?=.)/s);
    call.partial[event.stream] = lines.pop() ?? "";
    for (const line of lines) this.#outputLine(event.callId, call, event.stream, line);
    // A line that never ends must not be kept whole: its beginning is all that will be shown.
    const rest = call.partial[event.stream];
    if (rest.length > LIMITS.shownLineCharacters * 2)
      call.partial[event.stream] = rest.slice(0, LIMITS.shownLineCharacters * 2);
  }

  completed(event: SessionEventOf<"tool.completed">): void {
    const call = this.#calls.get(event.callId) ?? this.#begin(event.callId, event.name, "");
    for (const stream of ["stdout", "stderr"] as const) {
      if (call.partial[stream] !== "") this.#outputLine(event.callId, call, stream, call.partial[stream]);
    }
    // A tool without live output is told by its result.
    if (call.shown === 0) this.#result(event, call);
    const { style } = this.#screen;
    const more = call.hidden > 0 ? [`${countText(call.hidden, "more line")}`] : [];
    const { mark, colour } = MARKS[event.outcome];
    const outcome = event.outcome === "ok" ? [] : [event.outcome, ...endingOf(event.result)];
    const label = this.#last === event.callId ? [] : [call.label];
    const words = [...label, ...outcome, durationText(event.durationMs), ...more].join(" · ");
    this.#screen.line(`  ${style(colour, mark)} ${style("dim", words)}`);
    this.#last = event.callId;
    this.#calls.delete(event.callId);
  }

  #begin(callId: string, toolName: string, args: string): ShownCall {
    const name = safeLine(toolName, NAME_CHARACTERS);
    const label = safeLine(`${name} ${args}`, LABEL_CHARACTERS);
    const call: ShownCall = { label, partial: { stdout: "", stderr: "" }, shown: 0, hidden: 0 };
    this.#calls.set(callId, call);
    const { style } = this.#screen;
    if (this.#last === undefined) this.#screen.gap();
    this.#screen.line(`${style("cyan", "●")} ${style("bold", name)}${args === "" ? "" : `  ${args}`}`);
    this.#last = callId;
    return call;
  }

  #result(event: SessionEventOf<"tool.completed">, call: ShownCall): void {
    const stream = event.outcome === "ok" ? "stdout" : "stderr";
    for (const line of event.result.trimEnd().split("\n")) {
      if (line !== "" && endingOf(line).length === 0) this.#outputLine(event.callId, call, stream, line);
    }
  }

  #outputLine(callId: string, call: ShownCall, stream: Stream, line: string): void {
    if (call.shown >= LIMITS.shownLines) {
      call.hidden++;
      return;
    }
    const { style } = this.#screen;
    if (this.#last !== callId) this.#screen.line(style("dim", `  ├ ${call.label}`));
    this.#last = callId;
    call.shown++;
    const bar = style(stream === "stderr" ? "red" : "dim", "│");
    this.#screen.line(`  ${bar} ${safeLine(line, LIMITS.shownLineCharacters)}`);
  }
}

/** How a command ended, which stands in brackets at the end of its result: `[exit code 1]`. */
function endingOf(result: string): readonly string[] {
  const ending = /(?:^|\n)\[([^\]\n]{1,200})\]\s*$/.exec(result)?.[1];
  return ending === undefined ? [] : [safeLine(ending, LIMITS.shownLineCharacters)];
}
