/** What dead workers left is handed back where the server knows it, forgotten after its first word on it, and never fatal. */
import { Client, Connection } from "@temporalio/client";
import { expect, test } from "vitest";
import { beginAttempt, orphanedAttempts } from "../../store/attempts.ts";
import { handBackAttempts } from "../../workers/hand-back.ts";
import { untilTemporal } from "../../workers/until-temporal.ts";
import { type TemporaryStore, temporaryStore } from "../store/store-builder.ts";

/** gRPC's names of what a server says of an attempt. */
const CODES = { INVALID_ARGUMENT: 3, NOT_FOUND: 5, PERMISSION_DENIED: 7, FAILED_PRECONDITION: 9, INTERNAL: 13 };

async function withOrphans(count: number): Promise<TemporaryStore> {
  const store = await temporaryStore();
  for (let each = 0; each < count; each++) {
    const taskToken = Buffer.from(`token ${each}`).toString("base64");
    await store.database.write((tx) => beginAttempt(tx, { taskToken, host: "h1", process: "1:dead" }));
  }
  return store;
}

/** A client whose server answers each failed attempt like this. */
function answering(code: number | undefined): Client {
  const client = new Client({ connection: Connection.lazy({ address: "127.0.0.1:1" }) });
  const respondActivityTaskFailed = async (): Promise<void> => {
    if (code !== undefined) throw Object.assign(new Error("the server's word"), { code });
  };
  Object.defineProperty(client, "workflowService", { value: { respondActivityTaskFailed } });
  return client;
}

async function handBack(store: TemporaryStore, client: Client) {
  const warnings: string[] = [];
  const warn = (_: object, message: string): void => {
    warnings.push(message);
  };
  const handed = await handBackAttempts({ store, client, host: "h1", isAlive: () => false, warn });
  const left = (await orphanedAttempts(store.database, "h1", () => false)).length;
  return { handed, left, warnings: warnings.length };
}

test("all are handed back, many at once, and forgotten", async () => {
  await using store = await withOrphans(50);

  expect(await handBack(store, answering(undefined))).toEqual({ handed: 50, left: 0, warnings: 0 });
});

test.for(Object.entries(CODES))("an attempt of which the server says %s is forgotten", async ([, code]) => {
  await using store = await withOrphans(3);

  expect(await handBack(store, answering(code))).toEqual({ handed: 0, left: 0, warnings: 0 });
});

test.for([1, 4, 8, 10, 14])(
  "without an answer (gRPC's %i) they are kept for the next, and it is said",
  async (code) => {
    await using store = await withOrphans(3);

    expect(await handBack(store, answering(code))).toEqual({ handed: 0, left: 3, warnings: 1 });
  },
);

test("Temporal that is away is waited for, said once per reason; another error is told at once", async () => {
  const said: string[] = [];
  let asked = 0;
  const say = (reason: string): void => {
    said.push(reason);
  };
  const waiting = { stopped: new AbortController().signal, say };
  const away = Object.assign(new Error("no connection"), { code: 14 });
  const ask = async (): Promise<string> => {
    asked += 1;
    if (asked < 4) throw away;
    return "here";
  };
  expect([await untilTemporal(ask, waiting), asked, said]).toEqual(["here", 4, ["no connection"]]);

  const denied = Object.assign(new Error("denied"), { code: 7 });
  await expect(untilTemporal(() => Promise.reject(denied), waiting)).rejects.toThrow("denied");
  const stopped = AbortSignal.abort();
  await expect(untilTemporal(() => Promise.reject(away), { stopped, say })).rejects.toThrow("no connection");
});
