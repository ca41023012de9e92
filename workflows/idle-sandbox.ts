/** Stops a sandbox that nobody has used for long and whose session does not know of it, because a caller woke it: a short workflow of its own. */
import { atSandbox } from "./at-sandbox.ts";
import type { IdleSandboxKey } from "./messages.ts";

export async function idleSandbox(key: IdleSandboxKey): Promise<void> {
  await atSandbox((activities) =>
    activities.stopIdleSandbox.executeWithOptions({ summary: "stop the idle sandbox" }, [key]),
  );
}
