/** Steps that go on with the session that the step before left open in the runtime, and steps that must not. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StepOutput } from "../../../backends/backend.ts";
import { WireCallIds } from "../../../backends/wire-call-ids.ts";
import { linesOf, readConversation } from "../../support/seen-conversation.ts";
import { failureOf, Memory, says, scripted } from "../openai/step-builder.ts";
import {
  Conversation,
  type CopilotWorld,
  callsOf,
  startCopilotWorld,
  texts,
  WIRES,
  type Wire,
} from "./step-builder.ts";
import { type WatchedPlatform, watchedPlatform } from "./watched-platform.ts";

const LOOK = { name: "look", args: { at: "a" } };
const ALL_WIRES: readonly Wire[] = [...WIRES, "anthropic"];
const SLOW = { text: "a text that is long enough to be stopped in its middle", gapMs: 40 };
const GIVEN_UP = expect.stringContaining("resumes the session's state");

interface Watched extends CopilotWorld {
  readonly platform: WatchedPlatform;
  /** Sessions that were opened in the runtime since it was last asked. */
  newlyOpened(): number;
  /** What the model was shown last. */
  shown(): readonly string[];
}

async function startWatched(parts: { readonly wire?: Wire; readonly liveSessionsMax?: number } = {}): Promise<Watched> {
  const platform = watchedPlatform();
  const world = await startCopilotWorld({ ...parts, platform });
  let counted = 0;
  return {
    ...{ ...world, platform },
    newlyOpened: () => {
      const before = counted;
      counted = platform.opened.length;
      return counted - before;
    },
    shown: () => {
      const request = world.model.requests.at(-1);
      return linesOf(readConversation(request?.path ?? "", request?.body));
    },
  };
}

/** One attempt, of which nothing is committed. */
function attempt(world: CopilotWorld, session: Conversation, sink = new Memory()): Promise<StepOutput> {
  return world.backend.step(session.input(), sink, new AbortController().signal);
}

describe.each(ALL_WIRES)("over the %s wire", (wire) => {
  let world: Watched;
  beforeAll(async () => {
    world = await startWatched({ wire });
  }, 30_000);
  afterAll(() => world[Symbol.asyncDispose]());

  test("calls, results, steering and turns go on in one open session", async () => {
    const session = new Conversation().say(scripted({ text: "a", tools: [LOOK, LOOK] }, { tools: [LOOK] }));
    world.newlyOpened();
    await session.step(world);
    await session.answer().step(world);
    const steer = scripted({ text: "steered" });
    await session.answer(undefined, "error").say(says("rather north"), steer).step(world);
    const next = scripted({ tools: [LOOK] }, { text: "the end" });
    await session.say(next).step(world);
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("the end");
    expect(world.newlyOpened()).toBe(1);
    const call = 'call: look {"at":"a"}';
    expect(world.shown()).toEqual([
      expect.stringContaining("user: "),
      ...["assistant: a", call, call, "result: result of look", "result: result of look"],
      ...[call, "result: result of look", "user: rather north", `user: ${wordsOf(steer)}`, "assistant: steered"],
      ...[`user: ${wordsOf(next)}`, call, "result: result of look"],
    ]);
    expect(session.changes.map((change) => change?.replace === undefined)).toEqual([false, true, true, true, true]);
    expect(world.warnings).toEqual([]);
  });

  test("at each boundary an open session asks the model with the same bytes as one that is resumed elsewhere", async () => {
    await using other = await startCopilotWorld({ wire, model: world.model, liveSessionsMax: 0 });
    const bytes = (): string => world.model.requests.at(-1)?.raw?.toString("utf8") ?? "";
    const session = new Conversation({ agent: { instructions: "be brief" } });
    session.say(scripted({ think: "hm", text: "a", tools: [LOOK, LOOK] }, { think: "so", tools: [LOOK] }));
    await session.step(world);
    const boundaries = [
      () => session.answer((name) => `${name} "1"\n🙂`),
      () => session.answer((name) => `${name} 2`, "error"),
      () => session.say(says("and then?"), scripted({ text: "b", tools: [LOOK] }, { tools: [LOOK] })),
      () => session.answer((name) => `${name} 3`, "denied").say(says("rather north"), says("or south")),
      () => session.answer((name) => `${name} 4`),
    ];
    for (const [at, goOn] of boundaries.entries()) {
      goOn();
      world.newlyOpened();
      await attempt(other, session);
      const resumed = bytes();
      await session.step(world);

      expect(`${at} ${world.newlyOpened()} ${bytes()}`).toBe(`${at} 0 ${resumed}`);
    }
  });

  test("an attempt that was not committed is never gone on with", async () => {
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { tools: [LOOK, LOOK] }, { text: "b" }));
    await session.step(world);
    session.answer();
    const [committed, superseded] = [await attempt(world, session), await attempt(world, session)];
    session.commit(committed);
    world.newlyOpened();
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("b");
    const sent = world.model.requests.at(-1)?.raw?.toString("utf8") ?? "";
    const sentAs = (id: string): string => new WireCallIds().called(id);
    for (const { providerCallId = "none" } of callsOf(committed.blocks)) expect(sent).toContain(sentAs(providerCallId));
    for (const { providerCallId = "none" } of callsOf(superseded.blocks)) {
      expect(sent).not.toContain(sentAs(providerCallId));
    }
    expect(world.shown().filter((line) => line.startsWith("result"))).toHaveLength(3);
  });

  test("sixty steps in one open session show each result once and in order", async () => {
    const session = new Conversation().say(scripted({ tools: [{ name: "look" }], times: 59 }, { text: "at the end" }));
    world.newlyOpened();
    let output = await session.step(world);
    for (let step = 0; step < 59; step++) output = await session.answer(() => `result ${step}`).step(world);

    expect(texts(output)).toBe("at the end");
    expect(world.newlyOpened()).toBe(1);
    const pairs = Array.from({ length: 59 }, (_, step) => ["call: look {}", `result: result ${step}`]);
    expect(world.shown().slice(1)).toEqual(pairs.flat());
  }, 30_000);
});

describe("an open session", () => {
  test("of the attempt that was committed is gone on with, whatever other attempts there were", async () => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { tools: [LOOK, LOOK] }, { text: "b" }));
    await session.step(world);
    session.answer();
    const outputs = await Promise.all([attempt(world, session), attempt(world, session), attempt(world, session)]);
    world.newlyOpened();
    session.commit(outputs[1] ?? outputs[0]);
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("b");
    expect(world.newlyOpened()).toBe(0);
    await expect.poll(() => world.platform.closed.length, { interval: 2, timeout: 5_000 }).toBe(2);
  });

  test("whose step's commit was lost is left, and the step repeats", async () => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { tools: [LOOK] }, { text: "b" }));
    await session.step(world);
    session.answer();
    await attempt(world, session);
    const first = world.model.requests.at(-1)?.raw?.toString("utf8");
    world.newlyOpened();
    await session.step(world);

    expect(world.newlyOpened()).toBe(1);
    expect(world.model.requests.at(-1)?.raw?.toString("utf8")).toBe(first);
    expect(texts(await session.answer().step(world))).toBe("b");
    expect(world.newlyOpened()).toBe(0);
  });

  test.each(["stopped", "failed"] as const)("whose step has %s is left", async (how) => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK] }, how === "stopped" ? SLOW : { status: 500 }));
    await session.step(world);
    session.answer();
    const stop = new AbortController();
    const sink = new Memory();
    const failed = failureOf(world.backend.step(session.input(), sink, stop.signal));
    if (how === "stopped") {
      await expect.poll(() => sink.lines.length, { interval: 2, timeout: 5_000 }).toBeGreaterThan(1);
      stop.abort();
    }
    await failed;
    world.newlyOpened();
    await attempt(world, session).catch(() => undefined);

    expect(world.newlyOpened()).toBe(1);
    expect(world.shown().filter((line) => line.startsWith("result"))).toHaveLength(1);
    expect(world.warnings).toEqual([]);
  });

  test.each([
    ["another model", { agent: { model: "another-model" } }],
    ["other instructions", { agent: { instructions: "be long" } }],
    ["another schema", { agent: { outputSchema: { type: "object" } } }],
    ["another effort", { agent: { modelSettings: { reasoningEffort: "low" as const } } }],
    ["other tools", { tools: [{ name: "look", description: "Looks twice.", parameters: { type: "object" } }] }],
  ])("is left for a step with %s", async (_what, parts) => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
    await session.step(world);
    world.newlyOpened();
    session.parts = parts;
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("b");
    expect(world.newlyOpened()).toBe(1);
  });

  test("that something has happened in since its step is left", async () => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK] }, { text: "b" }));
    await session.step(world);
    await world.platform.opened[0]?.abort();
    world.newlyOpened();
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("b");
    expect(world.newlyOpened()).toBe(1);
    expect(world.shown().at(-1)).toBe("result: result of look");
    expect(session.state?.text).not.toContain('"type":"abort"');
  });

  test("that asks the model between two steps is refused, and left", async () => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ text: "a" }, { text: "b" }));
    await session.step(world);
    const calls = world.model.requests.length;
    await world.platform.opened[0]?.rpc.sendMessages({ messages: [{ prompt: "on its own" }] });
    await expect.poll(() => world.model.requests.length, { interval: 5, timeout: 100 }).toBe(calls);
    world.newlyOpened();
    await session.say(says("next")).step(world);

    expect(world.newlyOpened()).toBe(1);
    expect(world.shown().join()).not.toContain("on its own");
  });

  test.each([
    ["refuses a result", async () => ({ success: false })],
    ["does nothing with a result", async () => ({ success: true })],
    ["fails with a result", () => Promise.reject(new Error("no such session"))],
  ] as const)("that %s is left in the same step, with one model call", async (_what, answer) => {
    await using world = await startWatched();
    const session = new Conversation().say(scripted({ tools: [LOOK, LOOK] }, { text: "b" }));
    await session.step(world);
    const open = world.platform.opened[0];
    if (open) open.rpc.tools.handlePendingToolCall = answer;
    const calls = world.model.requests.length;
    world.newlyOpened();
    const output = await session.answer().step(world);

    expect(texts(output)).toBe("b");
    expect(world.newlyOpened()).toBe(1);
    expect(world.model.requests.length - calls).toBe(1);
    expect(world.shown().filter((line) => line.startsWith("result"))).toHaveLength(2);
    expect(output.state?.append).toBeDefined();
    expect(world.warnings).toEqual([GIVEN_UP]);
  });

  test("is closed when others have come, the one that rested longest first", async () => {
    await using world = await startWatched({ liveSessionsMax: 2 });
    const sessions = ["one", "two", "three"].map((sessionId) =>
      new Conversation({ sessionId }).say(scripted({ tools: [LOOK] }, { text: "b" })),
    );
    for (const session of sessions) await session.step(world);
    await expect.poll(() => world.platform.closed, { interval: 2 }).toEqual([world.platform.opened[0]?.sessionId]);
    world.newlyOpened();
    const opened: number[] = [];
    for (const session of sessions.toReversed()) {
      expect(texts(await session.answer().step(world))).toBe("b");
      opened.push(world.newlyOpened());
    }

    expect(opened).toEqual([0, 0, 1]);
  });

  test("is not there when none may be: each step resumes its state", async () => {
    await using world = await startWatched({ liveSessionsMax: 0 });
    const session = new Conversation().say(scripted({ tools: [LOOK], times: 4 }, { text: "b" }));
    for (let step = 0; step < 5; step++) {
      await session.step(world);
      session.answer();
    }

    expect(world.newlyOpened()).toBe(5);
    expect(session.changes.map((change) => change?.replace === undefined)).toEqual([false, true, true, true, true]);
    await expect.poll(() => world.platform.closed.length, { interval: 2 }).toBe(5);
  });
});

function wordsOf(message: ReturnType<typeof says>): string {
  return message.blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join();
}
