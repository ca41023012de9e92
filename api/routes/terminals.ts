/** The terminal's line in the list of operations. Its upgrade is taken by `terminal-upgrade.ts`; a plain request is told so here. */
import { ProblemError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import { TerminalQuery } from "../../contract/terminals.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";

const DESCRIPTION = [
  "An interactive shell in the session's sandbox, over WebSocket; for providers that have `terminal` among their capabilities.",
  "Without `terminal` it opens a new one; with it, or with `watch=true`, it joins one that is open. Any number up to",
  `${LIMITS.terminalWatchersMax} watch, one writes: the first that did not ask only to watch, until another sends \`take\`.`,
  "Binary frames are bytes: what you type, and what the terminal prints. Text frames are JSON: you send `input {data}`,",
  "`resize {columns, rows}` and `take`; you are sent `opened {terminalId, columns, rows}` first of all, then `writer {you}`,",
  "`resized {columns, rows}`, `skipped`, `refused {message}`, and `closed {reason}` last. Whoever joins is sent what was",
  `printed before, up to ${LIMITS.terminalKeptBytes / 1024} KiB of it. It closes with its shell, its sandbox, its worker,`,
  `and when nobody has watched it for ${LIMITS.terminalUnwatchedMs / 60_000} minutes. What cannot be opened is refused before`,
  "the upgrade, as a problem document. The shell has the agent's variables and none of its secrets; of secrets that it prints",
  "all the same, `[REDACTED]` is seen.",
].join(" ");

export function terminalOperations(_deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/v1/sessions/{sessionId}/terminal",
      id: "openTerminal",
      summary: "Open or join a terminal",
      description: DESCRIPTION,
      params: SessionParams,
      query: TerminalQuery,
      answers: { 101: { description: "The connection is a WebSocket from here on." } },
      problems: [
        ...(["SESSION_NOT_FOUND", "NOT_FOUND", "SESSION_CLOSED", "CONFLICT", "UPGRADE_REQUIRED"] as const),
        ...(["TOO_MANY_TERMINALS", "TOO_MANY_STREAMS", "UNAVAILABLE"] as const),
      ],
      handle: async ({ response }) => {
        response.set({ Upgrade: "websocket", Connection: "Upgrade" });
        throw new ProblemError("UPGRADE_REQUIRED", "expected a WebSocket: a GET with Upgrade: websocket");
      },
    }),
  ];
}
