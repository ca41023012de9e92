/** `perdure run`: one message to a new session (or to a named one), followed live until its turn has ended. */
import type { Command } from "commander";
import { newId } from "../../contract/ids.ts";
import type { SandboxProviderName } from "../../contract/sandbox.ts";
import { agentChange } from "../chat/chat-commands.ts";
import type { Client, NewMessage } from "../client.ts";
import { ClientError } from "../client-error.ts";
import { EXIT } from "../exit-codes.ts";
import { follow } from "../follow.ts";
import type { Io } from "../io.ts";
import { readPrompt } from "../prompt.ts";
import { UsageError } from "../usage-error.ts";
import { type ApiOptions, apiClient, sandboxOption, sessionId, urlOption, withApi } from "./api-command.ts";

interface RunOptions extends ApiOptions {
  readonly session?: string;
  readonly agent?: string;
  readonly backend?: string;
  readonly model?: string;
  readonly sandbox?: SandboxProviderName;
  readonly instructions?: string;
  readonly title?: string;
  readonly json: boolean;
  readonly detach: boolean;
}

/** A message that the API has taken, and the point of the log before it. */
interface Sent {
  readonly sessionId: string;
  readonly messageId: string;
  readonly turnId: string;
  readonly after: number;
}

export function addRun(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("run")
    .description("Run a prompt in a new session and follow it live; the exit code says how it ended.")
    .argument("[prompt]", "what to do; - or nothing reads it from the standard input")
    .option("--json", "print each event as one line of JSON, and nothing else", false)
    .option("--session <id>", "go on in this session, or make it under this id", sessionId)
    .option("--agent <id>", "a stored agent for a new session, such as reviewer or reviewer@3")
    .option("--backend <name>", "the backend of a new session: one of `perdure backends`")
    .option("--model <model>", "the model of a new session (default: the worker's PERDURE_MODEL)")
    .addOption(sandboxOption())
    .option("--instructions <text>", "the instructions of a new session's agent")
    .option("--title <title>", "the title of a new session")
    .option("--detach", "print the session's id and leave at once", false);
  withApi(command).action(async (given: string | undefined, options: RunOptions) => {
    end(await run(io, await readPrompt(given, io.stdin), options));
  });
}

async function run(io: Io, prompt: string, options: RunOptions): Promise<number> {
  const client = apiClient(options, io.env);
  const sent = await send(client, prompt, options);
  if (options.detach) {
    const { after: _, ...ids } = sent;
    io.stdout.write(options.json ? `${JSON.stringify(ids)}\n` : `${sent.sessionId}\n`);
    return EXIT.completed;
  }
  if (!options.json) io.stderr.write(`session ${sent.sessionId}\n`);
  const { json } = options;
  const exitCode = await follow(io, { ...sent, client, message: sent, json, urlOption: urlOption(options) });
  if (!json && io.stderr.isTTY && exitCode !== EXIT.detached) {
    io.stderr.write(`go on with: perdure send ${sent.sessionId} "…" --wait${urlOption(options)}\n`);
  }
  return exitCode;
}

/** Both ids are ours from the beginning: what is sent again after a lost answer is the same session and message. */
async function send(client: Client, prompt: string, options: RunOptions): Promise<Sent> {
  const message: NewMessage = { content: prompt, id: newId("msg") };
  const id = options.session ?? newId("ses");
  const known = options.session === undefined ? undefined : await findSession(client, options.session);
  if (known) {
    refuseAgentOptions(options);
    return { sessionId: id, after: known.lastSeq, ...(await client.postMessage(id, message)) };
  }
  const { agent, backend, model, sandbox, instructions, title } = options;
  if (agent !== undefined && instructions !== undefined) {
    throw new UsageError("a stored agent has its instructions: leave out --agent or --instructions");
  }
  const created = await client.createSession({
    id,
    ...(agent !== undefined && agentChange(agent)),
    ...(backend !== undefined && { backend }),
    ...(model !== undefined && { model }),
    ...(sandbox !== undefined && { sandbox }),
    ...(instructions !== undefined && { agent: { instructions } }),
    ...(title !== undefined && { title }),
    message,
  });
  if (!created.message) throw new ClientError("foreign", `${client.baseUrl} made the session without its message`);
  return { sessionId: id, after: 0, ...created.message };
}

async function findSession(client: Client, id: string): Promise<{ readonly lastSeq: number } | undefined> {
  try {
    return await client.getSession(id);
  } catch (error) {
    if (error instanceof ClientError && error.problem?.code === "SESSION_NOT_FOUND") return undefined;
    throw error;
  }
}

function refuseAgentOptions({ session, ...options }: RunOptions): void {
  const given = (["agent", "backend", "model", "sandbox", "instructions", "title"] as const).filter(
    (name) => options[name] !== undefined,
  );
  if (given.length === 0) return;
  const names = given.map((name) => `--${name}`).join(" and ");
  throw new UsageError(`session ${session} exists, and its agent stays as it was made: leave out ${names}`);
}
