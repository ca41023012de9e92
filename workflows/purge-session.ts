/** Removes everything that is kept of a closed session: its sandbox, its rows, its artifacts. */
import type { SessionId } from "../contract/ids.ts";
import { atSandbox } from "./at-sandbox.ts";

export async function purgeSession(input: { readonly sessionId: SessionId }): Promise<void> {
  await atSandbox((activities) => activities.purgeSession(input));
}
