/** `perdure answer`: a person's answer to a question that an agent has asked. */
import type { Command } from "commander";
import { newId } from "../../contract/ids.ts";
import { ClientError } from "../client-error.ts";
import { withFirst } from "../decision-text.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { safeJson, safeLine } from "../terminal-text.ts";
import { UsageError } from "../usage-error.ts";
import { findQuestion } from "../waiting-call.ts";
import { type ApiOptions, apiClient, integerFrom, sessionId, withApi } from "./api-command.ts";

interface AnswerOptions extends ApiOptions {
  readonly session?: string;
  readonly choice?: number;
  readonly json: boolean;
}

const TEXT_CHARACTERS = 2_000;

export function addAnswer(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("answer")
    .description("Answer a question of an agent.")
    .argument("<call>", "the call's id, or its beginning")
    .argument("[text]", "the answer; one of the choices counts as that choice")
    .option("--choice <n>", "the n-th choice instead, counted from 1 as they are shown", integerFrom(1))
    .option("--session <session>", "the session that asks (default: it is looked for)", sessionId)
    .option("--json", "print JSON", false);
  withApi(command).action(async (call: string, text: string | undefined, options: AnswerOptions) => {
    await answer(io, { call, text }, options);
    end(EXIT.completed);
  });
}

async function answer(
  io: Io,
  { call, text }: { readonly call: string; readonly text: string | undefined },
  options: AnswerOptions,
): Promise<void> {
  const body = bodyOf(text, options.choice);
  const client = apiClient(options, io.env);
  const question = await findQuestion(client, { call, session: options.session });
  try {
    const taken = await client.answerQuestion(question, body, { key: newId("msg") });
    const words = `answered ${taken.callId} of session ${question.sessionId}: ${safeLine(taken.answer ?? "", TEXT_CHARACTERS)}`;
    io.stdout.write(`${options.json ? safeJson(JSON.stringify(taken)) : words}\n`);
  } catch (error) {
    throw withFirst(fromOne(error));
  }
}

/** The API counts choices from 0, and people are shown them from 1. */
function fromOne(error: unknown): unknown {
  if (!(error instanceof ClientError) || error.problem?.code !== "INVALID_INPUT") return error;
  const { problem } = error;
  const message = error.message.replace(/(?<=[:,] )(\d+)(?= ")/g, (index) => String(Number(index) + 1));
  return new ClientError(error.kind, message, { cause: error, problem });
}

function bodyOf(text: string | undefined, choice: number | undefined) {
  if (choice !== undefined && text === undefined) return { choice: choice - 1 };
  if (text !== undefined && choice === undefined) return { answer: text };
  throw new UsageError("expected either an answer, or --choice <n>");
}
