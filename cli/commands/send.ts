/** `perdure send`: a message to a session that exists; with --wait its turn is followed live. */
import { type Command, Option } from "commander";
import { MessageMode } from "../../contract/events.ts";
import { newId } from "../../contract/ids.ts";
import { EXIT } from "../exit-codes.ts";
import { follow } from "../follow.ts";
import type { Io } from "../io.ts";
import { readPrompt } from "../prompt.ts";
import { countText } from "../quantities.ts";
import { type ApiOptions, apiClient, sessionId, urlOption, withApi } from "./api-command.ts";

interface SendOptions extends ApiOptions {
  readonly mode: MessageMode;
  readonly id?: string;
  readonly wait: boolean;
  readonly json: boolean;
}

export function addSend(program: Command, io: Io, end: (exitCode: number) => void): void {
  const modes = new Option("--mode <mode>", "queue: after what runs; interrupt: instead of it");
  const command = program
    .command("send")
    .description("Send a message to a session.")
    .argument("<session>", "the session's id", sessionId)
    .argument("[text]", "what to say; - or nothing reads it from the standard input")
    .addOption(modes.choices(MessageMode.options).default("queue"))
    .option("--id <id>", "the message's id: the same id again is the same message")
    .option("--wait", "follow the turn live; the exit code says how it ended", false)
    .option("--json", "print JSON: the answer, or with --wait each event", false);
  withApi(command).action(async (id: string, given: string | undefined, options: SendOptions) => {
    end(await send(io, { to: id, text: await readPrompt(given, io.stdin) }, options));
  });
}

async function send(
  io: Io,
  { to, text }: { readonly to: string; readonly text: string },
  options: SendOptions,
): Promise<number> {
  const { mode, wait, json } = options;
  const client = apiClient(options, io.env);
  // Before the message is there, so that all of its turn lies behind this point of the log.
  const after = wait ? (await client.getSession(to)).lastSeq : 0;
  const message = await client.postMessage(to, { content: text, mode, id: options.id ?? newId("msg") });
  if (wait) return await follow(io, { client, sessionId: to, after, message, json, urlOption: urlOption(options) });
  const place = message.position === 0 ? "goes now" : `${countText(message.position, "turn")} before it`;
  io.stdout.write(json ? `${JSON.stringify(message)}\n` : `message ${message.messageId} ${message.turnId}: ${place}\n`);
  return EXIT.completed;
}
