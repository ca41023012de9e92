/** The store of one process: its database, its blobs, its transcripts, and what passes through. */
import path from "node:path";
import { LIMITS } from "../contract/limits.ts";
import { BackendStates } from "./backend-state.ts";
import { type BlobStore, openBlobStore } from "./blobs.ts";
import { type Database, openDatabase } from "./database.ts";
import { syncPath } from "./durable-file.ts";
import { installationId } from "./installation.ts";
import { makePrivateFolder } from "./private-folder.ts";
import type { Synchronous } from "./sqlite.ts";
import { Tickets } from "./tickets.ts";
import { TranscriptCache } from "./transcript.ts";
import { openTransit, type Transit } from "./transit.ts";

export interface Store extends AsyncDisposable {
  /** The id of the stack that this store is of. */
  readonly stack: string;
  readonly tickets: Tickets;
  /** Where all of it lies. */
  readonly folder: string;
  readonly database: Database;
  readonly blobs: BlobStore;
  readonly transit: Transit;
  readonly transcripts: TranscriptCache;
  readonly states: BackendStates;
}

/** Opens the embedded store below a state directory, making what is missing. */
export async function openStore(stateDir: string, synchronous: Synchronous = "normal"): Promise<Store> {
  makePrivateFolder(stateDir);
  const database = await openDatabase(path.join(stateDir, "perdure.db"), LIMITS.databaseBusyMs, synchronous);
  syncPath(stateDir); // The database's own name, which no transaction of it makes durable for certain.
  return {
    stack: await installationId(database),
    tickets: await Tickets.open(database),
    folder: stateDir,
    database,
    blobs: await openBlobStore(path.join(stateDir, "blobs")),
    transit: await openTransit(path.join(stateDir, "transit")),
    transcripts: new TranscriptCache(database),
    states: new BackendStates(database),
    [Symbol.asyncDispose]: () => database.close(),
  };
}
