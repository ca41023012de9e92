/** The wires of the scripted endpoint: where their requests go, and how a scripted step looks on each. */
import { anthropicDocument, anthropicError, anthropicFrames } from "./anthropic-replies.ts";
import {
  chatDocument,
  chatFrames,
  type Frame,
  type ReplyContext,
  responsesDocument,
  responsesFrames,
} from "./model-replies.ts";
import type { ScriptStep } from "./model-script.ts";

export interface Wire {
  /** How the paths of its model calls end. */
  readonly path: string;
  document(step: ScriptStep, context: ReplyContext): Record<string, unknown>;
  frames(step: ScriptStep, context: ReplyContext): Generator<Frame>;
  error(status: number, message: string): Record<string, unknown>;
}

const openaiError = (_status: number, message: string): Record<string, unknown> => ({
  error: { message, type: "scripted_error", code: null, param: null },
});
export const RESPONSES: Wire = {
  path: "/responses",
  document: responsesDocument,
  frames: responsesFrames,
  error: openaiError,
};
const CHAT: Wire = { path: "/chat/completions", document: chatDocument, frames: chatFrames, error: openaiError };
export const ANTHROPIC: Wire = {
  path: "/messages",
  document: anthropicDocument,
  frames: anthropicFrames,
  error: anthropicError,
};
export const WIRES = [RESPONSES, CHAT, ANTHROPIC];
