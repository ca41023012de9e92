/** What a line of a chat is: a message, or a command such as `/stop`. */
import type { MessageMode } from "../../contract/events.ts";

export const COMMANDS = {
  help: "what there is",
  exit: "leave; the session goes on (also Ctrl-D)",
  stop: "stop the turn that runs (also Ctrl-C)",
  steer: "<text>  the text joins the running turn at its next step, as a plain line does",
  queue: "[text]  the text waits for the running turn's end; without a text: what waits",
  interrupt: "<text>  stop the running turn, and go on with the text",
  remove: "<n>  take back the nth message that waits",
  approvals: "ask again what was put off",
  agent: "[id[@version]]  go on as another agent",
  backend: "[name]  go on with another backend",
  model: "[name]  go on with another model",
  session: "where you are, and how to come back",
} as const;
export type CommandName = keyof typeof COMMANDS;

export type ChatLine =
  | { readonly type: "nothing" }
  /** Without a mode: it steers what runs. */
  | { readonly type: "message"; readonly text: string; readonly mode?: MessageMode }
  | { readonly type: "command"; readonly name: CommandName; readonly rest: string }
  | { readonly type: "mistake"; readonly words: string };

export function readLine(line: string): ChatLine {
  const text = line.trim();
  if (text === "") return { type: "nothing" };
  if (!text.startsWith("/")) return { type: "message", text: line };
  if (text.startsWith("//")) return { type: "message", text: text.slice(1) };
  const [, name = "", rest = ""] = /^\/(\S*)\s*([\s\S]*)$/.exec(text) ?? [];
  if (!isCommand(name))
    return { type: "mistake", words: `there is no /${name}: /help says what there is; // begins a message with a /` };
  const isMode = name === "steer" || name === "queue" || name === "interrupt";
  if (isMode && rest !== "") return { type: "message", text: rest, mode: name };
  if (name === "steer" || name === "interrupt") return { type: "mistake", words: `/${name} wants a text` };
  return { type: "command", name, rest };
}

/** Own names only: `/constructor` is no command. */
function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}
