/** Where commands of sessions that name no provider ran last: what an operator relies on, and what must not be weakened in silence. */
import { SandboxProviderName } from "../contract/sandbox.ts";
import type { Database } from "./database.ts";

const NAME = "sandbox.default";

/** Undefined in a store that no worker has used. One of a version that kept none is asked what it has sandboxes of. */
export async function keptSandboxDefault({ read }: Database): Promise<SandboxProviderName | undefined> {
  const row = await read.selectFrom("settings").select("value").where("name", "=", NAME).executeTakeFirst();
  if (row) return SandboxProviderName.safeParse(row.value).data;
  const used = await read
    .selectFrom("sandboxes")
    .select("provider")
    .where("provider", "=", "bubblewrap")
    .limit(1)
    .execute();
  return used.length > 0 ? "bubblewrap" : undefined;
}

export async function keepSandboxDefault(database: Database, value: SandboxProviderName): Promise<void> {
  await database.write((tx) =>
    tx
      .insertInto("settings")
      .values({ name: NAME, value })
      .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
      .execute(),
  );
}
