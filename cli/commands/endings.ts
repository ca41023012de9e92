/** `perdure interrupt` and `perdure close`: the ends of a turn and of a session. */
import type { Command } from "commander";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { type ApiOptions, apiClient, sessionId, withApi } from "./api-command.ts";

export function addEndings(program: Command, io: Io, end: (exitCode: number) => void): void {
  const interrupt = program
    .command("interrupt")
    .description("Stop what a session runs; what waits goes on.")
    .argument("<session>", "the session's id", sessionId);
  withApi(interrupt).action(async (id: string, options: ApiOptions) => {
    const { message } = await apiClient(options, io.env).interrupt(id);
    io.stdout.write(`${message}\n`);
    end(EXIT.completed);
  });
  const close = program
    .command("close")
    .description("End a session: its sandbox is removed; its log and its artifacts stay.")
    .argument("<session>", "the session's id", sessionId);
  withApi(close).action(async (id: string, options: ApiOptions) => {
    const { message } = await apiClient(options, io.env).close(id);
    io.stdout.write(`${message}\n`);
    end(EXIT.completed);
  });
}
