/** A session's events as a person at a terminal wants them: live text, dimmed thinking, tools, artifacts, errors, the end. */
import type { Content } from "../contract/blocks.ts";
import type { SessionEvent, SessionEventOf } from "../contract/events.ts";
import { LIMITS } from "../contract/limits.ts";
import type { Usage } from "../contract/usage.ts";
import { countText, durationText, sizeText } from "./quantities.ts";
import type { Screen } from "./screen.ts";
import { safeLine, safeText } from "./terminal-text.ts";
import { ToolView } from "./tool-view.ts";
import { WaitView, type WaitViewOptions } from "./wait-view.ts";

interface OpenBlock {
  readonly type: "text" | "thinking" | "tool_call";
  hasText: boolean;
}

const MESSAGE_CHARACTERS = 500;
const NAME_CHARACTERS = 60;
const COLUMNS_DEFAULT = 100;

export class LiveView {
  readonly #screen: Screen;
  readonly #tools: ToolView;
  readonly #waits: WaitView;
  /** Blocks of the step that is being written, by index. */
  readonly #blocks = new Map<number, OpenBlock>();
  /** The block whose text the screen ends with. */
  #lastBlock: number | undefined;
  /** A failure was told that is tried again. */
  #isRetrying = false;

  constructor(screen: Screen, options: Partial<WaitViewOptions> = {}) {
    this.#screen = screen;
    this.#tools = new ToolView(screen);
    this.#waits = new WaitView(screen, { asksHere: false, columns: COLUMNS_DEFAULT, ...options });
  }

  /** What waits for somebody: shown again when it is asked again. */
  get waits(): WaitView {
    return this.#waits;
  }

  show(event: SessionEvent): void {
    switch (event.type) {
      case "session.created":
      case "sandbox.starting":
      case "sandbox.ready":
      case "sandbox.stopped":
        break; // Nobody waits for these.
      case "block.started":
      case "block.delta":
      case "block.completed":
        this.#block(event);
        break;
      case "step.started":
      case "step.restarted":
      case "step.completed":
        this.#step(event);
        break;
      case "step.waiting":
        this.#waiting(event);
        break;
      case "tool.started":
      case "tool.output":
      case "tool.completed":
        this.#tool(event);
        break;
      case "approval.requested":
      case "approval.decided":
      case "question.asked":
      case "question.answered":
      case "tool.requested":
        this.#leave();
        this.#waits.show(event);
        this.#wait(event.at);
        break;
      case "message.received":
      case "message.queued":
      case "message.steered":
      case "message.removed":
      case "message.refused":
        this.#message(event);
        break;
      case "session.updated":
        this.#updated(event);
        break;
      case "sandbox.lost":
        this.#note("yellow", `! the sandbox is lost: ${safeLine(event.message, MESSAGE_CHARACTERS)}`);
        break;
      case "sandbox.replaced": {
        const from = event.restoredFrom === null ? "an empty workspace" : "its last snapshot";
        this.#note("yellow", `! a new sandbox has taken its place, with ${from}`);
        break;
      }
      case "workspace.unkept":
        this.#note("yellow", `! the workspace is not kept: ${safeLine(event.message, MESSAGE_CHARACTERS)}`);
        break;
      case "network.decided":
        if (event.decision === "deny") {
          const where = safeLine(`${event.host}:${event.port}`, MESSAGE_CHARACTERS);
          this.#note("yellow", `! the sandbox may not reach ${where}`);
        }
        break;
      case "artifact.uploaded": {
        const about = `${sizeText(event.bytes)}, ${safeLine(event.contentType, 100)}, ${event.artifactId}`;
        this.#note("cyan", `↑ ${safeLine(event.path, MESSAGE_CHARACTERS)}`, `(${about})`);
        break;
      }
      case "artifacts.skipped":
        this.#note(
          "yellow",
          `! ${safeLine(event.folder, MESSAGE_CHARACTERS)} has more than ${event.looked} entries; not all were looked at for artifacts`,
        );
        break;
      case "error":
        this.#error(event);
        break;
      case "turn.started":
        this.#screen.wait({ text: "the model thinks", since: event.at });
        break;
      case "turn.completed":
      case "turn.failed":
      case "turn.interrupted":
        this.#turnEnd(event);
        break;
      case "session.closed":
        this.#screen.wait(undefined);
        this.#note("dim", "session closed");
        break;
    }
  }

  #waiting({ missing, deadline }: SessionEventOf<"step.waiting">): void {
    const what = safeLine(missing.join(", "), MESSAGE_CHARACTERS);
    const until = new Date(deadline).toISOString().slice(11, 19);
    this.#note("yellow", `! waits until ${until} UTC for a worker that has ${what}`);
  }

  #message(
    event: SessionEventOf<
      "message.received" | "message.queued" | "message.steered" | "message.removed" | "message.refused"
    >,
  ): void {
    switch (event.type) {
      case "message.received":
        this.#leave();
        this.#screen.gap();
        this.#screen.line(`${this.#screen.style("bold", "›")} ${contentText(event.content)}`);
        break;
      case "message.queued":
        this.#note("dim", `waits: ${countText(event.position, "turn")} before it`);
        break;
      case "message.steered":
        this.#note("dim", `the message joined the turn at step ${event.step}`);
        break;
      case "message.removed":
        this.#note("dim", `message ${event.messageId} was taken back`);
        break;
      case "message.refused":
        this.#note("red", `✗ the message was refused: ${safeLine(event.message, MESSAGE_CHARACTERS)}`);
        break;
    }
  }

  #updated({ agent, agentRef, backend, model, notCarried }: SessionEventOf<"session.updated">): void {
    const version = agentRef === null ? "" : ` (${agentRef.id}, version ${agentRef.version})`;
    const runs = `${safeLine(agent, NAME_CHARACTERS)}${version} on ${safeLine(backend, NAME_CHARACTERS)}`;
    this.#note("cyan", `→ from here on: agent ${runs}, ${model === null ? "its default model" : safeLine(model, 200)}`);
    for (const { what, count, why } of notCarried) {
      const lost = `${countText(count, safeLine(what, NAME_CHARACTERS))} not carried over`;
      this.#note("yellow", `! ${lost}: ${safeLine(why, MESSAGE_CHARACTERS)}`);
    }
  }

  /** Says what the turn waits for now. */
  #wait(since: number): void {
    this.#screen.wait({ text: this.#waits.waiting ?? this.#tools.running ?? "the model thinks", since });
  }

  #step(
    event: SessionEventOf<"step.started"> | SessionEventOf<"step.restarted"> | SessionEventOf<"step.completed">,
  ): void {
    this.#blocks.clear();
    this.#screen.endLine();
    const wasRetrying = this.#isRetrying;
    this.#isRetrying = false;
    if (event.type === "step.completed") return;
    if (event.type === "step.restarted") {
      // A failure has said so itself; else a process was lost, and what it had streamed is void.
      const why = wasRetrying ? "" : "the attempt was lost; ";
      this.#note("yellow", `↻ ${why}step ${event.step} again (attempt ${event.attempt})`);
    }
    this.#screen.wait({ text: "the model thinks", since: event.at });
  }

  #block(
    event: SessionEventOf<"block.started"> | SessionEventOf<"block.delta"> | SessionEventOf<"block.completed">,
  ): void {
    switch (event.type) {
      case "block.started":
        this.#blocks.set(event.index, { type: event.block.type, hasText: false });
        if (event.block.type === "tool_call") {
          const name = safeLine(event.block.name ?? "a tool", NAME_CHARACTERS);
          this.#screen.wait({ text: `the model writes a call of ${name}`, since: event.at });
        }
        break;
      case "block.delta": {
        // A reader that came in the middle of a block does not know what it is; text is the likely one.
        const block = this.#blocks.get(event.index) ?? { type: "text", hasText: false };
        this.#blocks.set(event.index, block);
        this.#blockText(event.index, block, event.text);
        break;
      }
      case "block.completed":
        this.#blockEnd(event);
        break;
    }
  }

  #blockEnd({ index, block, interrupted }: SessionEventOf<"block.completed">): void {
    const known = this.#blocks.get(index);
    this.#blocks.delete(index);
    if (block.type === "tool_call") return;
    if (!known?.hasText) this.#blockText(index, { type: block.type, hasText: false }, block.text);
    this.#screen.endLine();
    this.#lastBlock = undefined;
    if (interrupted) this.#note("dim", "… cut off here, and kept");
  }

  #blockText(index: number, block: OpenBlock, text: string): void {
    if (block.type === "tool_call" || text === "") return;
    if (this.#lastBlock !== index || !block.hasText) {
      this.#tools.leave();
      this.#screen.gap();
    }
    block.hasText = true;
    this.#lastBlock = index;
    this.#screen.text(safeText(text), block.type === "thinking" ? ["dim", "italic"] : undefined);
  }

  #tool(
    event: SessionEventOf<"tool.started"> | SessionEventOf<"tool.output"> | SessionEventOf<"tool.completed">,
  ): void {
    this.#lastBlock = undefined;
    if (event.type === "tool.output") {
      this.#tools.output(event);
      return;
    }
    if (event.type === "tool.started") this.#tools.started(event);
    else if (!this.#waits.completed(event.callId)) this.#tools.completed(event);
    this.#wait(event.at);
  }

  #error(event: SessionEventOf<"error">): void {
    const what = `${event.code}: ${safeLine(event.message, MESSAGE_CHARACTERS)}`;
    if (event.retryInMs === undefined) {
      this.#note("red", `! ${what}`);
    } else {
      this.#note("yellow", `! ${what}`, `· again in ${durationText(event.retryInMs)}`);
      this.#isRetrying = true;
      this.#screen.wait({ text: "trying again", until: event.at + event.retryInMs });
    }
  }

  #turnEnd(
    event: SessionEventOf<"turn.completed"> | SessionEventOf<"turn.failed"> | SessionEventOf<"turn.interrupted">,
  ): void {
    this.#leave();
    this.#blocks.clear();
    this.#tools.reset();
    this.#waits.reset();
    this.#screen.wait({ text: "idle, waiting for a message" });
    this.#screen.gap();
    const sums = `· ${countText(event.steps, "step")} · ${tokensText(event.usage)} · ${durationText(event.durationMs)}`;
    switch (event.type) {
      case "turn.completed":
        this.#note("green", "✓ completed", sums);
        break;
      case "turn.interrupted":
        this.#note("yellow", `■ interrupted (${event.reason})`, sums);
        break;
      case "turn.failed": {
        const advice = event.retryable ? " (sending it again may help)" : "";
        this.#note("red", `✗ failed: ${event.code}: ${safeLine(event.message, MESSAGE_CHARACTERS)}${advice}`, sums);
        break;
      }
    }
  }

  /** A line about the session itself, with what is less important behind it. */
  #note(colour: "dim" | "red" | "yellow" | "green" | "cyan", text: string, aside = ""): void {
    this.#leave();
    const { style } = this.#screen;
    this.#screen.line(style(colour, text) + (aside === "" ? "" : ` ${style("dim", aside)}`));
  }

  #leave(): void {
    this.#tools.leave();
    this.#lastBlock = undefined;
  }
}

function contentText(content: Content): string {
  const text =
    typeof content === "string"
      ? content
      : content.map((block) => (block.type === "text" ? block.text : `[${block.type}]`)).join(" ");
  const lines = text.slice(0, LIMITS.shownLines * MESSAGE_CHARACTERS).split("\n");
  const shown = lines.slice(0, LIMITS.shownLines).map((line) => safeLine(line, MESSAGE_CHARACTERS));
  if (lines.length > shown.length) shown.push("…");
  return shown.join("\n  ");
}

function tokensText({ inputTokens, outputTokens, cachedTokens }: Usage): string {
  const cached = cachedTokens > 0 ? ` (${cachedTokens.toLocaleString("en")} cached)` : "";
  return `${countText(inputTokens, "token")} in${cached}, ${outputTokens.toLocaleString("en")} out`;
}
