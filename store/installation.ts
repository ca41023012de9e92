/**
 * What this installation is called where several share one engine or account: whoever sweeps must leave the others' alone, and
 * a worker takes no other's work. It is the id of the stack, as its task queues and its workflows carry it.
 */
import { randomUUID } from "node:crypto";
import type { Database } from "./database.ts";

const NAME = "installation";

/** Made once, and the same for every process of the store. */
export async function installationId(database: Database): Promise<string> {
  const known = await database.read.selectFrom("settings").select("value").where("name", "=", NAME).executeTakeFirst();
  if (known) return known.value;
  return await database.write(async (tx) => {
    const made = { name: NAME, value: randomUUID() };
    await tx
      .insertInto("settings")
      .values(made)
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    const row = await tx.selectFrom("settings").select("value").where("name", "=", NAME).executeTakeFirstOrThrow();
    return row.value;
  });
}

const OLD = "from-before-0.4";

/** Whether versions before 0.4 have worked on this store, and what they left at Temporal is still there. */
export async function isFromOld(database: Database): Promise<boolean> {
  const row = await database.read.selectFrom("settings").select("name").where("name", "=", OLD).executeTakeFirst();
  return row !== undefined;
}

export async function leaveOld(database: Database): Promise<void> {
  await database.write((tx) => tx.deleteFrom("settings").where("name", "=", OLD).execute());
}
