/** Follows a session's events until its turn has ended, it is closed, or somebody leaves; the answer is the exit code. */
import type { SessionEvent } from "../contract/events.ts";
import type { Client } from "./client.ts";
import { ClientError } from "./client-error.ts";
import type { Connection } from "./event-stream.ts";
import { EXIT, EXIT_OF } from "./exit-codes.ts";
import type { Io } from "./io.ts";
import { Leaving } from "./leaving.ts";
import { LiveView } from "./live-view.ts";
import { Screen } from "./screen.ts";
import { createStyle, wantsColors } from "./style.ts";
import { safeJson } from "./terminal-text.ts";

export interface FollowOptions {
  readonly client: Client;
  readonly sessionId: string;
  /** Only events behind this seq. */
  readonly after: number;
  /** Ends with this message's turn; without it, with the session. */
  readonly message?: { readonly messageId: string; readonly turnId: string };
  readonly json: boolean;
  /** Options that `perdure attach` needs to find the same API. */
  readonly urlOption: string;
}

export async function follow(io: Io, options: FollowOptions): Promise<number> {
  const { client, sessionId, json } = options;
  using leaving = new Leaving();
  using screen = createScreen(io);
  const view = new LiveView(screen);
  let { after } = options;
  let exitCode: number | undefined;
  let isThere = true;
  if (!json) screen.wait({ text: "waiting for the session", since: Date.now() });
  const onConnection = (connection: Connection): void => {
    if (!json) showConnection(screen, connection);
  };
  try {
    for await (const received of client.events(sessionId, { after, signal: leaving.signal, onConnection })) {
      after = received.seq;
      if (json) io.stdout.write(`${safeJson(received.json)}\n`);
      else if (received.event) view.show(received.event);
      exitCode = received.event && endOf(received.event, options);
      if (exitCode !== undefined) break;
    }
  } catch (error) {
    isThere = (options.message !== undefined || after > options.after) && !isRefusal(error);
    throw error;
  } finally {
    screen[Symbol.dispose]();
    if (exitCode === undefined && isThere) io.stderr.write(comeBack(sessionId, after, options.urlOption));
  }
  return exitCode ?? EXIT.detached;
}

export function createScreen(io: Io): Screen {
  const style = createStyle(wantsColors(io.stdout.isTTY === true, io.env));
  return new Screen({ stdout: io.stdout, stderr: io.stderr, style });
}

/** There is no such session or no such event, and coming back would be told the same. */
function isRefusal(error: unknown): boolean {
  return error instanceof ClientError && error.problem !== undefined && error.problem.status < 500;
}

function comeBack(sessionId: string, after: number, urlOption: string): string {
  return `left session ${sessionId}, which goes on; come back with: perdure attach ${sessionId} --after ${after}${urlOption}\n`;
}

function showConnection(screen: Screen, connection: Connection): void {
  if (connection.state === "lost") {
    screen.line(screen.style("dim", `the connection is lost (${connection.reason}); coming back`));
    screen.wait({ text: "reconnecting", since: Date.now() });
  } else {
    screen.wait({ text: "waiting for the session", since: Date.now() });
  }
}

/** The exit code, when this event is what was waited for. */
function endOf(event: SessionEvent, { message }: FollowOptions): number | undefined {
  if (event.type === "session.closed") return message ? EXIT.interrupted : EXIT.completed;
  if (!message) return undefined;
  if (event.type === "message.refused") return event.messageId === message.messageId ? EXIT.failed : undefined;
  if (event.type === "turn.completed" || event.type === "turn.failed" || event.type === "turn.interrupted") {
    if (event.turnId !== message.turnId) return undefined;
    const outcome = {
      "turn.completed": "completed",
      "turn.failed": "failed",
      "turn.interrupted": "interrupted",
    } as const;
    return EXIT_OF[outcome[event.type]];
  }
  return undefined;
}
