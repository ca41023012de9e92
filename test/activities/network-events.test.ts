/** Network decisions in the log: exact, in order and once, also with two who publish, and after a failure in between. */
import { expect, test } from "vitest";
import { publishNetworkDecisions } from "../../activities/network-events.ts";
import type { SandboxId, SessionId } from "../../contract/ids.ts";
import { LIMITS } from "../../contract/limits.ts";
import { type NetworkDecision, type Sandbox, SandboxError } from "../../sandbox/provider.ts";
import { beginSandbox } from "../../store/sandboxes.ts";
import { aSession, logOf, type TemporaryStore, temporaryStore } from "../store/store-builder.ts";

test("what was decided is in the log in order, and only what is new the next time", async () => {
  await using place = await aPlace();
  place.decide("a.test", "allow");
  place.decide("b.test", "deny");
  expect(await publish(place)).toBe(2);
  expect(await publish(place)).toBe(0);
  place.decide("c.test", "deny");
  expect(await publish(place)).toBe(1);

  const { sandboxId } = place;
  expect(await decided(place)).toEqual([
    { sandboxId, host: "a.test", port: 443, decision: "allow", reason: "because" },
    { sandboxId, host: "b.test", port: 443, decision: "deny", reason: "because" },
    { sandboxId, host: "c.test", port: 443, decision: "deny", reason: "because" },
  ]);
});

test("many who publish at once bring each once", async () => {
  await using place = await aPlace();
  for (let n = 0; n < 40; n += 1) place.decide(`h${n}.test`, "deny");
  const counts = await Promise.all(Array.from({ length: 10 }, () => publish(place)));
  expect(counts.reduce((a, b) => a + b)).toBe(40);
  expect((await decided(place)).map(({ host }) => host)).toEqual(Array.from({ length: 40 }, (_, n) => `h${n}.test`));
});

test("a flood is brought in parts, and none of it is lost", async () => {
  await using place = await aPlace(100);
  const all = LIMITS.networkDecisionsMax * 2 + 150;
  for (let n = 0; n < all; n += 1) place.decide(`h${n}.test`, "deny");
  expect(await publish(place)).toBe(LIMITS.networkDecisionsMax);
  while ((await publish(place)) > 0);
  expect(await decided(place)).toHaveLength(all);
});

test("a publisher that read before another committed adds nothing", async () => {
  await using place = await aPlace();
  place.decide("a.test", "deny");
  let inBetween = 0;
  const slow: Sandbox = {
    ...place.sandbox,
    async networkDecisions(from) {
      const read = await place.sandbox.networkDecisions(from);
      inBetween = await publish(place);
      return read;
    },
  };
  expect(await publishNetworkDecisions({ store: place.store }, place.sessionId, slow)).toBe(0);
  expect(inBetween).toBe(1);
  expect(await decided(place)).toHaveLength(1);
});

test("an append that fails moves nothing, and the next one brings it", async () => {
  await using place = await aPlace();
  place.decide("a.test", "deny");
  const failing = {
    ...place.store,
    database: { ...place.store.database, write: () => Promise.reject(new Error("disk full")) },
  };
  await expect(publishNetworkDecisions({ store: failing }, place.sessionId, place.sandbox)).rejects.toThrow();
  expect(await publish(place)).toBe(1);
});

test("an offset that moved over nothing readable is kept", async () => {
  await using place = await aPlace();
  const asked: number[] = [];
  const skipping: Sandbox = {
    ...place.sandbox,
    networkDecisions: async (from) => {
      asked.push(from);
      return { decisions: [], next: 77 };
    },
  };
  expect(await publishNetworkDecisions({ store: place.store }, place.sessionId, skipping)).toBe(0);
  expect(asked).toEqual([0, 77]);
});

test("a lost sandbox has nothing to tell, another failure is thrown", async () => {
  await using place = await aPlace();
  const broken = (kind: SandboxError["kind"]): Sandbox => ({
    ...place.sandbox,
    networkDecisions: () => Promise.reject(new SandboxError(kind, "no")),
  });
  expect(await publishNetworkDecisions({ store: place.store }, place.sessionId, broken("lost"))).toBe(0);
  await expect(publishNetworkDecisions({ store: place.store }, place.sessionId, broken("failed"))).rejects.toThrow(
    "no",
  );
});

test("a sandbox that has no row is left alone", async () => {
  await using place = await aPlace();
  place.decide("a.test", "deny");
  const stranger = { ...place.sandbox, id: "sbx_other-1" as SandboxId };
  expect(await publishNetworkDecisions({ store: place.store }, place.sessionId, stranger)).toBe(0);
  expect(await decided(place)).toEqual([]);
});

interface Place extends AsyncDisposable {
  readonly store: TemporaryStore;
  readonly sessionId: SessionId;
  readonly sandboxId: SandboxId;
  readonly sandbox: Sandbox;
  decide(host: string, decision: NetworkDecision["decision"]): void;
}

/** A session with a sandbox whose decisions are a list, given at most `perReading` at a time. */
async function aPlace(perReading = 1_000): Promise<Place> {
  const store = await temporaryStore();
  const sessionId = await aSession(store.database);
  const { sandboxId } = await beginSandbox(store.database, sessionId, {
    ...{ provider: "bubblewrap", host: "here", generation: 1, spec: {}, restoredFrom: null },
  });
  const all: NetworkDecision[] = [];
  const sandbox: Pick<Sandbox, "id" | "networkDecisions"> = {
    id: sandboxId,
    networkDecisions: async (from) => {
      const decisions = all.slice(from, from + perReading);
      return { decisions, next: from + decisions.length };
    },
  };
  return {
    ...{ store, sessionId, sandboxId },
    sandbox: sandbox as Sandbox, // Nothing else of it is used here.
    decide: (host, decision) => void all.push({ host, port: 443, decision, reason: "because" }),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

function publish(place: Place): Promise<number> {
  return publishNetworkDecisions({ store: place.store }, place.sessionId, place.sandbox);
}

async function decided(place: Place): Promise<readonly (NetworkDecision & { readonly sandboxId: string })[]> {
  const events = await logOf(place.store.database, place.sessionId);
  return events.flatMap((event) => {
    if (event.type !== "network.decided") return [];
    const { sandboxId, host, port, decision, reason } = event;
    return [{ sandboxId, host, port, decision, reason }];
  });
}
