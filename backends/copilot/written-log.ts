/** A conversation written as a log of the runtime's own shape, so that the model is shown real messages, calls and results. */
import type { ToolCallBlock, ToolResultBlock, TranscriptMessage } from "../../contract/blocks.ts";
import { INTERRUPTED_NOTE } from "../interrupted-note.ts";
import { shownToolName } from "../tool-name.ts";
import { promptOf } from "./attachments.ts";
import { KEPT_ID, SESSION_FS } from "./session-log.ts";

const NO_RESULT = "There is no result of this call: it was interrupted.";
/** What all wires take as the id of a call. */
const USUAL_ID = /^[\w-]{1,64}$/;
/** The runtime wants times, and no answer depends on them: the same transcript makes the same log. */
const WRITTEN_AT = "2026-01-01T00:00:00.000Z";

/** The same messages and model make the same text. */
export function writeLog(transcript: readonly TranscriptMessage[], model: string): string {
  const log = new LogWriter(model);
  const results = new Map<string, ToolResultBlock>();
  for (const block of transcript.flatMap(({ blocks }) => blocks)) {
    if (block.type === "tool_result" && !results.has(block.callId)) results.set(block.callId, block);
  }
  for (const [at, message] of transcript.entries()) {
    if (message.role === "user") log.user(promptOf(message, at));
    // Results stand with their calls.
    if (message.role === "assistant") log.assistant(message, results);
  }
  return log.text();
}

class LogWriter {
  readonly #model: string;
  readonly #lines: string[] = [];
  #parent: string | null = null;
  #turns = 0;
  readonly #callIds = new Set<string>();

  constructor(model: string) {
    this.#model = model;
    this.#line("session.start", {
      sessionId: KEPT_ID,
      version: 1,
      producer: "copilot-agent",
      copilotVersion: "0.0.0",
      startTime: WRITTEN_AT,
      selectedModel: model,
      contextTier: null,
      context: { cwd: SESSION_FS.initialCwd },
      remoteSteerable: false,
      alreadyInUse: false,
    });
  }

  text(): string {
    return this.#lines.map((line) => `${line}\n`).join("");
  }

  user(content: string): void {
    if (content === "") return;
    const messageId = this.#id();
    this.#line("user.message", { content, transformedContent: content, messageId, interactionId: messageId });
  }

  assistant(message: TranscriptMessage, results: ReadonlyMap<string, ToolResultBlock>): void {
    const texts = message.blocks.flatMap((block) => (block.type === "text" && block.text !== "" ? [block.text] : []));
    const calls = message.blocks.filter((block) => block.type === "tool_call");
    if (texts.length === 0 && calls.length === 0) return;
    const turnId = String(this.#turns++);
    const interactionId = this.#id();
    this.#line("assistant.turn_start", { turnId, interactionId });
    const made = calls.map((call) => ({
      call,
      toolCallId: this.#wireCallId(call),
      name: shownToolName(call.name),
      arguments: argumentsOf(call),
    }));
    const toolRequests = made.map((one) => ({
      toolCallId: one.toolCallId,
      name: one.name,
      arguments: one.arguments,
      type: "function",
    }));
    const content = texts.join("\n\n");
    const about = { messageId: this.#id(), model: this.#model, interactionId, turnId };
    this.#line("assistant.message", { ...about, content, toolRequests });
    const place = { turnId, model: this.#model };
    for (const { toolCallId, name, arguments: given } of made) {
      this.#line("tool.execution_start", { toolCallId, toolName: name, arguments: given, ...place });
    }
    for (const { call, toolCallId } of made) {
      const content = results.get(call.callId)?.text ?? NO_RESULT;
      // The text says what became of the call; an error's own field would be reworded by the runtime.
      const result = { success: true, result: { content }, toolTelemetry: {} };
      this.#line("tool.execution_complete", { toolCallId, interactionId, ...place, ...result });
    }
    this.#line("assistant.turn_end", { turnId });
    // Of the user's role: in the model's own words it would learn to write so itself.
    if (message.interrupted === true) this.user(INTERRUPTED_NOTE);
  }

  /**
   * Some providers number the calls of each reply anew: then only our ids can tell two of them apart. Others make ids that
   * the provider which is asked now may refuse.
   */
  #wireCallId(call: ToolCallBlock): string {
    const { callId, providerCallId = callId } = call;
    const isOurs = this.#callIds.has(providerCallId) || !USUAL_ID.test(providerCallId);
    const id = isOurs ? callId : providerCallId;
    this.#callIds.add(id);
    return id;
  }

  #id(): string {
    return `00000000-0000-4000-8000-${this.#lines.length.toString(16).padStart(12, "0")}`;
  }

  #line(type: string, data: Record<string, unknown>): void {
    const id = `00000000-0000-4000-9000-${this.#lines.length.toString(16).padStart(12, "0")}`;
    this.#lines.push(JSON.stringify({ type, data, id, timestamp: WRITTEN_AT, parentId: this.#parent }));
    this.#parent = id;
  }
}

/** Always an object: some providers parse what the model once wrote, and would refuse the whole conversation for ever. */
function argumentsOf(call: ToolCallBlock): Record<string, unknown> {
  return typeof call.arguments === "string" ? { malformed_arguments: call.arguments } : call.arguments;
}
