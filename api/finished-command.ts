/** Waiting until a caller's command has ended. */
import type { Command } from "../contract/commands.ts";
import { type CommandIds, getCommand } from "../store/commands.ts";
import type { Database } from "../store/database.ts";
import type { EventTail } from "../store/tail.ts";

/** The command when it has ended, or when the signal aborts: then as it is. */
export async function awaitCommand(
  { database, tail }: { readonly database: Database; readonly tail: EventTail },
  of: CommandIds & { readonly after: number },
  signal: AbortSignal,
): Promise<Command> {
  using log = tail.open(of.sessionId);
  let seq = of.after;
  for (;;) {
    const command = await getCommand(database, of);
    if (command.state === "done" || signal.aborted) return command;
    const isEnd = (json: string): boolean => json.includes(`"type":"command.completed","callId":"${of.callId}"`);
    for (let isOver = false; !isOver && !signal.aborted; ) {
      const events = await log.after(seq);
      seq = events.at(-1)?.seq ?? seq;
      isOver = events.some(({ json }) => isEnd(json));
      if (events.length > 0) continue;
      await log.changed(seq, signal);
      // Told of nothing new: the session may be purged, which the row tells.
      isOver ||= (await log.after(seq)).length === 0;
    }
  }
}
