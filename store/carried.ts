/** What of a conversation another backend cannot be shown: it stays in the transcript, and the change of backend says so. */
import type { Agent } from "../contract/agents.ts";
import type { BackendCapabilities } from "../contract/backends.ts";
import type { Block } from "../contract/blocks.ts";
import type { SessionId } from "../contract/ids.ts";
import type { Tx } from "./database.ts";

type Capabilities = Pick<BackendCapabilities, "images" | "files" | "settings">;

export interface NotCarried {
  readonly what: string;
  readonly count: number;
  readonly why: string;
}

export interface BackendChange {
  readonly sessionId: SessionId;
  readonly before: Agent;
  readonly after: Agent;
  /** Of the backend after; undefined: unknown, and taken to be able to do anything. */
  readonly capabilities: Capabilities | undefined;
}

/** The agent without the settings that this backend does not take: they were for another one. */
export function withSettingsOf(agent: Agent, capabilities: Capabilities | undefined): Agent {
  if (!capabilities) return agent;
  const known: readonly string[] = capabilities.settings;
  const kept = Object.entries(agent.modelSettings).filter(([name]) => known.includes(name));
  return { ...agent, modelSettings: Object.fromEntries(kept) };
}

/** Nothing when the backend stays the same. */
export async function lostAtChange(tx: Tx, change: BackendChange): Promise<readonly NotCarried[]> {
  const { before, after, capabilities } = change;
  if (before.backend === after.backend) return [];
  const lost = [...(await lostBlocks(tx, change))].map(([what, { count, why }]) => ({ what, count, why }));
  if (!capabilities) return lost;
  const known: readonly string[] = capabilities.settings;
  const settings = Object.keys(before.modelSettings).filter((name) => !known.includes(name));
  const why = `the ${after.backend} backend takes no such setting`;
  return [...lost, ...settings.map((name) => ({ what: `modelSettings.${name}`, count: 1, why }))];
}

async function lostBlocks(
  tx: Tx,
  change: BackendChange,
): Promise<ReadonlyMap<string, { readonly count: number; readonly why: string }>> {
  const lost = new Map<string, { count: number; why: string }>();
  for (const block of await blocksOf(tx, change.sessionId)) {
    const loss = lossOf(block, change);
    if (!loss) continue;
    const [what, why] = loss;
    lost.set(what, { count: (lost.get(what)?.count ?? 0) + 1, why });
  }
  return lost;
}

function lossOf(
  block: Block,
  { after, capabilities }: BackendChange,
): readonly [what: string, why: string] | undefined {
  const { backend } = after;
  if (block.type === "thinking" && block.opaque && block.opaque.backend !== backend) {
    const owner = block.opaque.backend;
    return [`reasoning of the ${owner} backend`, `only the ${owner} backend can show it to its model again`];
  }
  if (block.type === "image" && capabilities?.images === false) {
    return ["images", `the ${backend} backend takes no images`];
  }
  if (block.type === "file" && capabilities?.files === false) return ["files", `the ${backend} backend takes no files`];
  return undefined;
}

/** The transcript can be long, and most of it is text: only messages that may hold such a block are read. */
async function blocksOf(tx: Tx, sessionId: SessionId): Promise<readonly Block[]> {
  const rows = await tx
    .selectFrom("transcript")
    .select("blocks")
    .where("session_id", "=", sessionId)
    .where((eb) =>
      eb.or(
        ["thinking", "image", "file"].map((type) => eb("blocks", "like", `%${JSON.stringify({ type }).slice(1, -1)}%`)),
      ),
    )
    .execute();
  return rows.flatMap((row) => JSON.parse(row.blocks) as Block[]);
}
