/** A chat at a test's terminal, before a fake API; and the facts of a turn that asks. */
import { expect } from "vitest";
import type { Approving } from "../../cli/chat/asking.ts";
import { LiveChat } from "../../cli/chat/live-chat.ts";
import { NOTHING_RECALLED, recall } from "../../cli/chat/recall.ts";
import { Client } from "../../cli/client.ts";
import type { FakeApi } from "./fake-api.ts";
import type { TestTerminal } from "./terminal.ts";

export const IN_STEP = { turnId: "turn_1", step: 1 };
export const RUNNING = { type: "turn.started", turnId: "turn_1", messageId: "m1" };
export const HASH = "a".repeat(64);

export interface RunningChat extends AsyncDisposable {
  readonly ended: Promise<number>;
  posts(): readonly { readonly content?: unknown; readonly id?: string }[];
  decisions(): readonly { readonly callId: string | undefined; readonly body: unknown }[];
  untilPosts(count: number): Promise<void>;
  untilDecisions(count: number): Promise<void>;
}

export interface ChatStart {
  readonly env?: NodeJS.ProcessEnv;
  readonly approving?: Approving;
  readonly hasProject?: boolean;
  readonly typeAheadMs?: number;
  readonly recalls?: boolean;
}

/** Resolves when it is ready to be typed in. */
export async function startChat(api: FakeApi, terminal: TestTerminal, start: ChatStart = {}): Promise<RunningChat> {
  const { env, approving = "ask", hasProject = true, typeAheadMs = 0, recalls = false } = start;
  const client = new Client(api.url);
  const recalled = recalls
    ? await recall(client, { ...(await client.getSession("mine")), status: "waiting" })
    : NOTHING_RECALLED;
  const comeBack = "perdure chat --session mine";
  const options = { client, sessionId: "mine", recalled, approving, hasProject, comeBack, typeAheadMs };
  const chat = new LiveChat(terminal.io(env), options);
  const ended = chat.run().finally(() => chat[Symbol.dispose]());
  ended.catch(() => undefined);
  await terminal.until(/^›|approve/m);
  const posts = (part: string) => api.requests.filter(({ method, path: to }) => method === "POST" && to.includes(part));
  const decisions = () =>
    [...posts("/approvals/"), ...posts("/answers/")].map(({ path: to, body }) => ({
      callId: to.split("/").at(-1),
      body,
    }));
  return {
    ended,
    posts: () => posts("/messages").map(({ body }) => body as { id: string }),
    decisions,
    untilPosts: (count) => expect.poll(() => posts("/messages").length, { timeout: 5_000 }).toBe(count),
    untilDecisions: (count) => expect.poll(() => decisions().length, { timeout: 5_000 }).toBe(count),
    [Symbol.asyncDispose]: async () => {
      chat[Symbol.dispose]();
      await ended.catch(() => undefined);
    },
  };
}

export function anApproval(callId: string, args: object): object {
  const call = { ...IN_STEP, callId, name: "bash", arguments: args, argumentsHash: HASH };
  return { type: "approval.requested", ...call, reason: "rule 2 asks", deadline: Date.now() + 3_600_000 };
}

export function decided(callId: string, decision: object): object {
  return { type: "approval.decided", ...IN_STEP, callId, scope: "once", argumentsHash: HASH, ...decision };
}

export function aQuestion(question: object): object {
  const deadline = Date.now() + 3_600_000;
  return { type: "question.asked", ...IN_STEP, callId: "call_q", question: "where to?", deadline, ...question };
}
