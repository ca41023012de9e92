/** `perdure chat`: a session at a terminal, turn after turn; without a terminal, each line that comes in is a message. */
import { type Command, Option } from "commander";
import type { SessionDetail } from "../../contract/http.ts";
import { newId } from "../../contract/ids.ts";
import type { SandboxProviderName } from "../../contract/sandbox.ts";
import type { Approving } from "../chat/asking.ts";
import { agentChange } from "../chat/chat-commands.ts";
import { LiveChat } from "../chat/live-chat.ts";
import { pipedChat } from "../chat/piped-chat.ts";
import { NOTHING_RECALLED, recall } from "../chat/recall.ts";
import type { Client } from "../client.ts";
import { ClientError } from "../client-error.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { UsageError } from "../usage-error.ts";
import { type ApiOptions, apiClient, sandboxOption, sessionId, urlOption, withApi } from "./api-command.ts";

interface ChatOptions extends ApiOptions {
  readonly session?: string;
  readonly agent?: string;
  readonly backend?: string;
  readonly sandbox?: SandboxProviderName;
  readonly model?: string;
  readonly project?: string;
  readonly title?: string;
  readonly approve?: Approving;
  readonly json: boolean;
}

const HELP = `
While a turn runs, what you type joins it at its next step; /help says what else there is. Approvals and questions are
asked right there. Ctrl-C stops the turn, twice leaves, Ctrl-D leaves; the session goes on without this command.

Without a terminal each line of the standard input is a message, sent when the turn before it has ended. The command
ends with the input, or at the first turn that does not complete: exit code ${EXIT.failed} it failed, ${EXIT.interrupted} it was interrupted, ${EXIT.waiting} it waits for
a person, whom --approve=never (the default then) leaves it to.`;

export function addChat(program: Command, io: Io, end: (exitCode: number) => void): void {
  const approve = new Option("--approve <how>", "what asks a person: ask here, leave it to others, or approve it once");
  const command = program
    .command("chat")
    .description("Talk with an agent, turn after turn; come back to a session at any time.")
    .argument("[message]", "a first message")
    .option("--session <id>", "go on in this session", sessionId)
    .option("--agent <id>", "a stored agent, such as reviewer or reviewer@3")
    .option("--backend <name>", "one of `perdure backends`")
    .option("--model <model>", "the model")
    .addOption(sandboxOption())
    .option("--project <name>", "the project of a new session: what approvals may be remembered for")
    .option("--title <title>", "the title of a new session")
    .addOption(approve.choices(["ask", "never", "always"]))
    .option("--json", "print each event as one line of JSON, and read lines as without a terminal", false)
    .addHelpText("after", HELP);
  withApi(command).action(async (first: string | undefined, options: ChatOptions) => {
    end(await chat(io, first, options));
  });
}

async function chat(io: Io, first: string | undefined, options: ChatOptions): Promise<number> {
  if (first?.trim() === "") throw new UsageError("the message is empty: leave it out, or say something");
  const isLive = io.stdin.isTTY === true && io.stdout.isTTY === true && !options.json;
  if (!isLive && options.approve === "ask") throw new UsageError("--approve=ask needs a terminal: say never or always");
  const client = apiClient(options, io.env);
  const session = await open(client, options);
  const comeBack = `perdure chat --session ${session.id}${urlOption(options)}`;
  const shared = { client, sessionId: session.id, first, comeBack };
  if (!isLive) {
    if (!options.json) io.stderr.write(`session ${session.id}\n`);
    const { json, approve: approving = "never" } = options;
    return await pipedChat(io, { ...shared, after: session.lastSeq, approving, json });
  }
  const recalled = options.session === undefined ? NOTHING_RECALLED : await recall(client, session);
  const hasProject = session.metadata["project"] !== undefined;
  using live = new LiveChat(io, { ...shared, recalled, approving: options.approve ?? "ask", hasProject });
  return await live.run();
}

async function open(client: Client, options: ChatOptions): Promise<SessionDetail> {
  const { session, agent, backend, model, sandbox, project, title } = options;
  const configured = {
    ...(agent !== undefined && agentChange(agent)),
    ...(backend !== undefined && { backend }),
    ...(model !== undefined && { model }),
    ...(sandbox !== undefined && { sandbox }),
    ...(title !== undefined && { title }),
  };
  if (session === undefined) {
    const metadata = project === undefined ? {} : { metadata: { project } };
    return { ...(await client.createSession({ id: newId("ses"), ...configured, ...metadata })), progress: null };
  }
  if (project !== undefined) throw new UsageError("--project is for a new session: leave it out");
  const found = await find(client, session);
  // On purpose, as /agent, /backend and /model do: at once, or when the turn that runs has ended.
  if (Object.keys(configured).length > 0) await client.updateSession(session, configured);
  return found;
}

async function find(client: Client, id: string): Promise<SessionDetail> {
  try {
    const session = await client.getSession(id);
    if (session.status !== "closed") return session;
  } catch (error) {
    if (!(error instanceof ClientError) || error.problem?.code !== "SESSION_NOT_FOUND") throw error;
    const hint = "`perdure sessions` lists what there is; without --session a new one is made";
    throw new ClientError("refused", `there is no session ${id}: ${hint}`, { cause: error, problem: error.problem });
  }
  throw new ClientError("refused", `session ${id} is closed: \`perdure attach ${id}\` shows what was said in it`);
}
