/** Of a reply that is stopped, what clients have seen of its text stays, and nothing else. */
import { expect, test } from "vitest";
import type { Fact } from "../../contract/events.ts";
import { append } from "../../store/event-log.ts";
import { type BegunStep, endStep, publishReply } from "../../store/steps.ts";
import { messagesAfter } from "../../store/transcript.ts";
import { endTurn, type TurnIds } from "../../store/turns.ts";
import {
  aMessage,
  anEnding,
  aSession,
  aStep,
  logOf,
  type TemporaryStore,
  temporaryStore,
  typesOf,
} from "./store-builder.ts";

interface Stopped extends AsyncDisposable {
  readonly store: TemporaryStore;
  readonly ids: TurnIds;
  readonly begun: BegunStep;
  say(...facts: readonly Said[]): Promise<void>;
  stop(): Promise<void>;
}

type Said =
  | readonly ["starts", number, "text" | "thinking" | "tool_call"]
  | readonly ["goes on", number, string]
  | readonly ["ends", number, "text" | "thinking", string];

async function aRunningStep(step = 1): Promise<Stopped> {
  const store = await temporaryStore();
  const { database } = store;
  const ids = await aMessage(database, await aSession(database));
  for (let before = 1; before < step; before++) await endStep(database, await aStep(database, ids, before), anEnding());
  const begun = await aStep(database, ids, step);
  return {
    store,
    ids,
    begun,
    say: (...said) => publishReply(database, begun, facts(ids, step, said)),
    stop: async () => void (await endTurn(database, { ...ids, outcome: "interrupted", reason: "interrupted" })),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

function facts({ turnId }: TurnIds, step: number, said: readonly Said[]): Fact[] {
  return said.map((one): Fact => {
    const place = { turnId, step, index: one[1] };
    if (one[0] === "starts") return { type: "block.started", ...place, block: { type: one[2] } };
    if (one[0] === "goes on") return { type: "block.delta", ...place, text: one[2] };
    return { type: "block.completed", ...place, block: { type: one[2], text: one[3] } };
  });
}

/** What the transcript holds after the user's message. */
async function keptOf({ store, ids }: Stopped): Promise<readonly unknown[]> {
  const messages = await messagesAfter(store.database, ids.sessionId, { after: 0 });
  return messages.slice(1).map(({ message }) => message);
}
const interrupted = (...texts: readonly string[]): object => ({
  role: "assistant",
  blocks: texts.map((text) => ({ type: "text", text })),
  interrupted: true,
});

test("text that was cut is kept, marked, and said to be the block's end", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "Once "], ["goes on", 0, "upon"]);

  await step.stop();

  expect(await keptOf(step)).toEqual([interrupted("Once upon")]);
  const log = await logOf(step.store.database, step.ids.sessionId);
  expect(log.slice(-2)).toMatchObject([
    { type: "block.completed", index: 0, block: { type: "text", text: "Once upon" }, interrupted: true },
    { type: "turn.interrupted", output: "Once upon" },
  ]);
});

test("of several blocks the texts are kept in their order: no thinking, no call, and no second end of a whole one", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "thinking"], ["goes on", 0, "hm"], ["ends", 0, "thinking", "hm"]);
  await step.say(["starts", 1, "text"], ["goes on", 1, "wh"], ["ends", 1, "text", "whole"]);
  await step.say(
    ["starts", 3, "tool_call"],
    ["goes on", 3, '{"command": "rm'],
    ["starts", 4, "text"],
    ["goes on", 4, "last"],
    ["starts", 2, "text"],
    ["goes on", 2, "cut"],
  );

  await step.stop();

  expect(await keptOf(step)).toEqual([interrupted("whole", "cut", "last")]);
  const log = await logOf(step.store.database, step.ids.sessionId);
  const ends = log.filter((event) => event.type === "block.completed");
  expect(ends.map(({ index, interrupted: cut }) => [index, cut])).toEqual([
    [0, undefined],
    [1, undefined],
    [2, true],
    [4, true],
  ]);
});

test.for([
  ["nothing", []],
  [
    "only thoughts",
    [
      ["starts", 0, "thinking"],
      ["goes on", 0, "hm"],
    ],
  ],
  [
    "only a call",
    [
      ["starts", 0, "tool_call"],
      ["goes on", 0, "{}"],
    ],
  ],
  ["a text without a character", [["starts", 0, "text"]]],
] as readonly (readonly [string, readonly Said[]])[])("a reply that had said %s leaves none", async ([, said]) => {
  await using step = await aRunningStep();
  await step.say(...said);

  await step.stop();

  expect(await keptOf(step)).toEqual([]);
  const log = await logOf(step.store.database, step.ids.sessionId);
  expect(log.at(-1)).toMatchObject({ type: "turn.interrupted" });
  expect(log.at(-1)).not.toHaveProperty("output");
});

test("what an attempt had said that was lost is not kept: only the newest one's words are", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "of a lost attempt"]);
  const newer = await aStep(step.store.database, step.ids);
  await publishReply(
    step.store.database,
    newer,
    facts(step.ids, 1, [
      ["starts", 0, "text"],
      ["goes on", 0, "anew"],
    ]),
  );

  await step.stop();

  expect(await keptOf(step)).toEqual([interrupted("anew")]);
});

test("nor is it when the newest attempt had not said anything yet", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "of a lost attempt"]);
  await aStep(step.store.database, step.ids);

  await step.stop();

  expect(await keptOf(step)).toEqual([]);
});

test("a step before is whole already, and nothing of it is kept twice", async () => {
  await using step = await aRunningStep(2);
  await step.say(["starts", 0, "text"], ["goes on", 0, "second"]);

  await step.stop();

  expect(await keptOf(step)).toEqual([
    { role: "assistant", blocks: [{ type: "text", text: "done" }] },
    interrupted("second"),
  ]);
});

test("a turn that is stopped between two steps keeps no cut reply", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "done"]);
  await endStep(step.store.database, step.begun, anEnding());

  await step.stop();

  expect(await keptOf(step)).toEqual([{ role: "assistant", blocks: [{ type: "text", text: "done" }] }]);
});

test("what a turn says that ends twice is kept once", async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "cut"]);

  await step.stop();
  await step.stop();

  expect(await keptOf(step)).toEqual([interrupted("cut")]);
  expect((await typesOf(step.store.database, step.ids.sessionId)).slice(-2)).toEqual([
    "block.completed",
    "turn.interrupted",
  ]);
});

test("words that look like facts, and other facts between, change nothing", async () => {
  await using step = await aRunningStep();
  const { store, ids } = step;
  const text = '{"type":"step.started","turnId":"turn_x","step":1}';
  await step.say(["starts", 0, "text"], ["goes on", 0, text]);
  const queued: Fact = { type: "message.queued", messageId: "m", turnId: "turn_other", position: 1 };
  await store.database.write((tx) => append(tx, ids.sessionId, [queued]));
  await step.say(["goes on", 0, " and on"]);

  await step.stop();

  expect(await keptOf(step)).toEqual([interrupted(`${text} and on`)]);
});

test("of a reply of more than 20,000 events the newest are kept, of text and of nothing else", {
  timeout: 30_000,
}, async () => {
  await using step = await aRunningStep();
  await step.say(["starts", 0, "text"], ["goes on", 0, "of a lost attempt"], ["starts", 2, "text"]);
  const newer = await aStep(step.store.database, step.ids);
  const many = (index: number, text: string): Said[] => Array.from({ length: 10_001 }, () => ["goes on", index, text]);
  const start: Said[] = [
    ["starts", 0, "thinking"],
    ["starts", 1, "text"],
    ["goes on", 1, "too early"],
  ];
  await publishReply(step.store.database, newer, facts(step.ids, 1, [...start, ...many(0, "h"), ...many(1, "t")]));

  await step.stop();

  expect(JSON.stringify(await keptOf(step))).toBe(JSON.stringify([interrupted("t".repeat(10_001))]));
});
