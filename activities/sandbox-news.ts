/** Tells the model, with the next result that it is shown, that its sandbox was lost and what took its place. */
import type { SessionId } from "../contract/ids.ts";
import type { Tx } from "../store/database.ts";
import { takeNews } from "../store/sandboxes.ts";

/** A paragraph to stand before a result; empty when there is nothing to tell. */
export async function newsOfSandbox(tx: Tx, sessionId: SessionId): Promise<string> {
  const news = await takeNews(tx, sessionId);
  if (!news) return "";
  const now = news.isRestored
    ? "A new one has taken its place, with the workspace as it was kept last."
    : "A new one has taken its place, with an empty workspace but for the agent's own files.";
  return `[The sandbox was lost. ${now} Gone are: ${news.lost.join("; ")}. Look before you rely on what was there.]\n\n`;
}
