/** What the commands of a chat do: `/agent`, `/queue`, `/session` … Each ends in words for the person. */
import type { z } from "zod";
import { asBlocks } from "../../contract/blocks.ts";
import type { QueuedMessage, UpdateSession } from "../../contract/http.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { Client } from "../client.ts";
import { countText } from "../quantities.ts";
import { safeLine } from "../terminal-text.ts";
import { COMMANDS, type CommandName } from "./slash-commands.ts";

export interface CommandStage {
  readonly client: Client;
  readonly sessionId: string;
  /** The command that comes back to this chat. */
  readonly comeBack: string;
  say(text: string): void;
  leave(): void;
  stop(): Promise<void>;
  /** How many are asked again. */
  askAll(): number;
}

const TEXT_CHARACTERS = 100;
const NAME_CHARACTERS = 200;

/** @throws ClientError when the API refuses. */
export async function runCommand(stage: CommandStage, name: CommandName, rest: string): Promise<void> {
  switch (name) {
    case "help":
      return help(stage);
    case "exit":
      return stage.leave();
    case "stop":
      return await stage.stop();
    case "queue":
      return await showQueue(stage);
    case "remove":
      return await remove(stage, rest);
    case "approvals":
      if (stage.askAll() === 0) stage.say("nothing waits for you here");
      return;
    case "agent":
      return await change(stage, rest, agentChange);
    case "backend":
      return await change(stage, rest, (backend) => ({ backend }));
    case "model":
      return await change(stage, rest, (model) => ({ model }));
    case "session":
      return await showSession(stage);
    case "steer":
    case "interrupt":
      return; // With a text they are messages.
  }
}

function help(stage: CommandStage): void {
  stage.say("Enter sends; while a turn runs, it joins at the turn's next step. Ctrl-J or Alt-Enter breaks the line.");
  stage.say("Ctrl-C stops the turn; a second one within two seconds, or one when nothing runs, leaves.");
  for (const [name, words] of Object.entries(COMMANDS)) stage.say(`/${name}  ${words}`);
}

type Changes = z.input<typeof UpdateSession>;

async function change(stage: CommandStage, value: string, changesOf: (value: string) => Changes): Promise<void> {
  if (value === "") return await showSession(stage);
  const { applied } = await stage.client.updateSession(stage.sessionId, changesOf(value));
  if (!applied) stage.say("the change waits for the end of the turn that runs");
}

/** `reviewer` is its newest version, `reviewer@3` that one. */
export function agentChange(value: string): {
  readonly agent: string | { readonly id: string; readonly version: number };
} {
  const pinned = /^(.+)@([1-9]\d{0,8})$/.exec(value);
  return { agent: pinned ? { id: pinned[1] ?? "", version: Number(pinned[2]) } : value };
}

async function waitingMessages({ client, sessionId }: CommandStage): Promise<readonly QueuedMessage[]> {
  const waiting: QueuedMessage[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listMessages(sessionId, { state: "waiting", cursor });
    waiting.push(...page.messages);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && waiting.length < LIMITS.messagesWaiting);
  return waiting;
}

async function showQueue(stage: CommandStage): Promise<void> {
  const messages = await waitingMessages(stage);
  if (messages.length === 0) stage.say("no message waits");
  for (const [i, message] of messages.entries()) stage.say(`${i + 1}  ${message.mode}  ${contentLine(message)}`);
}

async function remove(stage: CommandStage, rest: string): Promise<void> {
  const messages = await waitingMessages(stage);
  const message = /^\d{1,4}$/.test(rest) ? messages[Number(rest) - 1] : undefined;
  if (!message) return stage.say(`/remove wants the number of a message that waits; /queue lists ${messages.length}`);
  await stage.client.removeMessage(stage.sessionId, message.messageId);
}

function contentLine({ content }: QueuedMessage): string {
  const text = asBlocks(content)
    .map((block) => (block.type === "text" ? block.text : `[${block.type}]`))
    .join(" ");
  return safeLine(text, TEXT_CHARACTERS);
}

async function showSession({ client, sessionId, comeBack, say }: CommandStage): Promise<void> {
  const { status, title, agent, agentRef, metadata, progress } = await client.getSession(sessionId);
  const version = agentRef === null ? "" : ` (${agentRef.id}, version ${agentRef.version})`;
  say(`session ${sessionId}: ${status}${title === null ? "" : `, ${safeLine(title, NAME_CHARACTERS)}`}`);
  say(`agent ${safeLine(agent.name, NAME_CHARACTERS)}${version}`);
  const model = agent.model === undefined ? "its default model" : safeLine(agent.model, NAME_CHARACTERS);
  say(`backend ${safeLine(agent.backend, NAME_CHARACTERS)}, ${model}`);
  const project = metadata["project"];
  if (project !== undefined) say(`project ${safeLine(project, NAME_CHARACTERS)}`);
  if (progress) {
    const { inputTokens, outputTokens } = progress.usage;
    say(
      `${countText(progress.turns, "turn")}, ${countText(inputTokens, "token")} in, ${outputTokens.toLocaleString("en")} out`,
    );
  }
  say(`come back with: ${comeBack}`);
}
