/** A terminal: a workflow of its own that lasts as long as its shell. Nothing of what goes through it is here. */
import type { TerminalKey } from "../contract/terminals.ts";
import { atSandbox } from "./at-sandbox.ts";

export async function terminalRequest(key: TerminalKey): Promise<void> {
  await atSandbox((activities) => activities.serveTerminal.executeWithOptions({ summary: key.terminalId }, [key]), {
    isPatient: true,
  });
}
