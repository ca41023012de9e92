/**
 * What a step goes on from: the runtime's state as it was committed, or a log that is written anew from the transcript.
 *
 * The state can be gone on from when the transcript has, beyond what the state covers, just what the runtime waits for.
 * All else (a turn that failed or was stopped, that went to another backend, another model or other instructions)
 * begins anew: nothing is lost but the model's hidden reasoning.
 */
import { createHash } from "node:crypto";
import type { ToolResultBlock, TranscriptMessage } from "../../contract/blocks.ts";
import type { StepInput } from "../backend.ts";
import { promptOf } from "./attachments.ts";
import { writeLog } from "./written-log.ts";

/** What is kept beside the log. */
export interface StateMeta {
  /** Messages of the transcript before the reply that this state ends with. */
  readonly covered: number;
  /** The calls of that reply, and the runtime's ids under which it waits for their results. */
  readonly pending: readonly { readonly callId: string; readonly requestId: string }[];
  /** What it was made with. */
  readonly setup: string;
  /** The attempt that made it, and no other. Older states have none. */
  readonly mark?: string;
}

export interface GivenResult {
  readonly requestId: string;
  readonly result: { readonly textResultForLlm: string; readonly resultType: "success" | "failure" | "denied" };
}

export interface Continuation {
  /** The log to begin with. */
  readonly text: string;
  /** It is the state as it was committed. */
  readonly isKept: boolean;
  readonly results: readonly GivenResult[];
  /** Messages that came while calls ran: the model reads them behind the results. */
  readonly steering: readonly string[];
  /** Messages that begin a turn. With nothing of all three the model is asked with the log as it is. */
  readonly prompts: readonly string[];
}

const NOTHING = { results: [], steering: [], prompts: [] } as const;

/** What must be the same for a state to be gone on from. */
export function setupOf(input: StepInput, made: { readonly model: string; readonly wire: string }): string {
  const { instructions, outputSchema } = input.agent;
  const parts = JSON.stringify([made.model, made.wire, instructions ?? null, outputSchema ?? null]);
  return createHash("sha256").update(parts).digest("hex").slice(0, 32);
}

/** From the state that was kept; undefined when it cannot be gone on from. */
export function keptContinuation({ state, transcript }: StepInput, setup: string): Continuation | undefined {
  if (state === undefined || state.text === "") return undefined;
  const meta = state.meta as StateMeta; // Written by this file's backend alone, whose name it is kept under.
  if (meta.setup !== setup) return undefined;
  const reply = transcript[meta.covered];
  if (reply === undefined || !isReplyOf(meta, reply)) return undefined;
  const tail = transcript.slice(meta.covered + 1);
  const firstUser = tail.findIndex((message) => message.role === "user");
  const boundary = firstUser < 0 ? tail.length : firstUser;
  const users = tail.slice(boundary);
  if (users.some((message) => message.role !== "user" || message.blocks.length === 0)) return undefined;
  const results = resultsFor(meta, tail.slice(0, boundary));
  if (results === undefined) return undefined;
  const texts = users.map((message, i) => promptOf(message, meta.covered + 1 + boundary + i));
  const isWaiting = results.length > 0;
  return { ...NOTHING, text: state.text, isKept: true, results, [isWaiting ? "steering" : "prompts"]: texts };
}

/** From the transcript alone. */
export function writtenContinuation({ transcript }: StepInput, model: string): Continuation {
  return { ...NOTHING, text: writeLog(transcript, model), isKept: false };
}

/** The reply was committed as the state knows it, with the same calls. */
function isReplyOf(meta: StateMeta, reply: TranscriptMessage): boolean {
  if (reply.role !== "assistant" || reply.interrupted === true) return false;
  const calls = reply.blocks.flatMap((block) => (block.type === "tool_call" ? [block.callId as string] : []));
  return calls.length === meta.pending.length && meta.pending.every(({ callId }) => calls.includes(callId));
}

/** The results of just the calls that the runtime waits for; undefined when they are others, or not all. */
function resultsFor(meta: StateMeta, messages: readonly TranscriptMessage[]): GivenResult[] | undefined {
  const given = messages.flatMap((message) => (message.role === "tool" ? message.blocks : [undefined]));
  const byCall = new Map<string, ToolResultBlock>();
  for (const block of given) {
    if (block?.type !== "tool_result" || byCall.has(block.callId)) return undefined;
    byCall.set(block.callId, block);
  }
  if (byCall.size !== meta.pending.length) return undefined;
  const results: GivenResult[] = [];
  for (const { callId, requestId } of meta.pending) {
    const block = byCall.get(callId);
    if (block === undefined) return undefined;
    results.push({ requestId, result: { textResultForLlm: block.text, resultType: RESULT_TYPES[block.outcome] } });
  }
  return results;
}

const RESULT_TYPES = {
  ok: "success",
  error: "failure",
  denied: "denied",
  interrupted: "failure",
  unknown: "failure",
} as const;
