/** `perdure attach`: follows a session from any point of its log until it is closed. */
import type { Command } from "commander";
import { follow } from "../follow.ts";
import type { Io } from "../io.ts";
import { type ApiOptions, apiClient, integerFrom, sessionId, urlOption, withApi } from "./api-command.ts";

interface AttachOptions extends ApiOptions {
  readonly after: number;
  readonly json: boolean;
}

export function addAttach(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("attach")
    .description("Follow a session until it is closed; Ctrl-C leaves it running.")
    .argument("<session>", "the session's id", sessionId)
    .option("--after <seq>", "only events behind this one", integerFrom(0), 0)
    .option("--json", "print each event as one line of JSON, and nothing else", false);
  withApi(command).action(async (id: string, options: AttachOptions) => {
    const { after, json } = options;
    const client = apiClient(options, io.env);
    end(await follow(io, { client, sessionId: id, after, json, urlOption: urlOption(options) }));
  });
}
