/** `perdure terminal`: an interactive shell in a session's sandbox. */
import { type Command, InvalidArgumentError } from "commander";
import { TerminalId } from "../../contract/ids.ts";
import type { Io } from "../io.ts";
import { useTerminal } from "../remote-terminal.ts";
import { UsageError } from "../usage-error.ts";
import { type ApiOptions, apiClient, sessionId, withApi } from "./api-command.ts";

interface TerminalOptions extends ApiOptions {
  readonly terminal?: TerminalId;
  readonly watch: boolean;
}

export function addTerminal(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("terminal")
    .description("Open a shell in a session's sandbox; Ctrl-] leaves it open.")
    .argument("<session>", "the session's id", sessionId)
    .option("--terminal <id>", "join an open one, as terminal.opened names it", terminalId)
    .option("--watch", "only look, at that one or the newest", false);
  withApi(command).action(async (id: string, options: TerminalOptions) => {
    const { terminal, watch } = options;
    if (io.stdin.isTTY !== true || io.stdout.isTTY !== true) {
      throw new UsageError("a shell needs a terminal on both sides; for one command use POST …/commands");
    }
    const { baseUrl, headers } = apiClient(options, io.env);
    end(await useTerminal(io, { baseUrl, headers, sessionId: id, watch, ...(terminal !== undefined && { terminal }) }));
  });
}

function terminalId(text: string): TerminalId {
  const read = TerminalId.safeParse(text);
  if (read.success) return read.data;
  throw new InvalidArgumentError("Expected term_ and letters, digits, _ or -.");
}
