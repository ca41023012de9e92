/** The gate of a call: it runs, it waits for who has the say, or it is answered at once, whatever it is named. */
import { describe, expect, test } from "vitest";
import { type GatedCall, type Gatekeeper, gateCall } from "../../activities/gated-calls.ts";
import { planCalls } from "../../activities/planned-calls.ts";
import { Agent, type AgentInput, ClientTool } from "../../contract/agents.ts";
import type { ToolCallBlock } from "../../contract/blocks.ts";
import { newId } from "../../contract/ids.ts";
import { aGatekeeper } from "./gatekeeper-builder.ts";

const PROTOTYPE_NAMES = ["constructor", "__proto__", "toString", "hasOwnProperty"];

const call = (name: string, args: ToolCallBlock["arguments"] = {}): ToolCallBlock => ({
  type: "tool_call",
  callId: newId("call"),
  name,
  arguments: args,
});
const bash = (command: string): ToolCallBlock => call("bash", { command });
const keeper = (agent: AgentInput, clientTools: readonly object[] = []): Gatekeeper =>
  aGatekeeper({ agent: Agent.parse(agent), clientTools: clientTools.map((tool) => ClientTool.parse(tool)) });
const gate = (of: Gatekeeper, block: ToolCallBlock): Promise<GatedCall> => gateCall(of, { block, before: [] });

describe("a policy", () => {
  test("that allows a call lets it run, and nobody looks for grants", async () => {
    const allowing = keeper({ policy: { default: "allow", rules: [] } });

    const { made, planned } = await gate(allowing, bash("ls"));

    expect(Object.keys(made)).toEqual(["block"]);
    expect(planned).toMatchObject({ name: "bash", quick: false, summary: "bash: ls" });
    expect(planned).not.toHaveProperty("wait");
  });

  test("that denies a call answers it with the reason, and it is not planned", async () => {
    const denying = keeper({ policy: { rules: [{ tool: "bash", action: "deny", reason: "no shell on Sundays" }] } });

    const { made, planned } = await gate(denying, bash("ls"));

    expect(planned).toBeUndefined();
    expect(made.answer).toEqual({
      outcome: "denied",
      text: expect.stringMatching(/^This call was denied and did not run: .*no shell on Sundays/),
    });
  });

  test("is asked of what was made of the call: one with wrong arguments is told so, not denied", async () => {
    const denying = keeper({ policy: { default: "deny", rules: [] } });

    expect((await gate(denying, call("bash", "{"))).made.answer?.outcome).toBe("error");
    expect((await gate(denying, call("bash", { cmd: "ls" }))).made.answer?.outcome).toBe("error");
    expect((await gate(denying, bash("ls"))).made.answer?.outcome).toBe("denied");
  });

  test("is no business of a tool that the agent does not have, of a built-in one as of one that nobody has", async () => {
    const few = keeper({ tools: ["grep"], policy: { default: "allow", rules: [{ tool: "*", action: "allow" }] } });

    for (const name of ["bash", "rm_rf"]) {
      const { made, planned } = await gate(few, call(name, { command: "ls" }));

      expect(planned).toBeUndefined();
      expect(made.answer).toEqual({ outcome: "error", text: `There is no tool "${name}". The tools are: grep.` });
    }
  });
});

describe("names of Object's prototype", () => {
  test.for(PROTOTYPE_NAMES)("a call of %s is a call of no tool", async (name) => {
    const { made, planned } = await gate(keeper({ policy: { default: "allow", rules: [] } }), call(name));

    expect(planned).toBeUndefined();
    expect(made.answer?.text).toMatch(/^There is no tool "/);
  });

  test.for(PROTOTYPE_NAMES)("a client tool may be named %s, and is judged by rules of that name", async (name) => {
    const tools = [{ name }];
    const denying = keeper({ policy: { default: "allow", rules: [{ tool: name, action: "deny" }] } }, tools);
    const asking = keeper({ policy: { default: "deny", rules: [{ tool: name, action: "ask" }] } }, tools);

    expect((await gate(keeper({}, tools), call(name))).planned).toMatchObject({ name, wait: { kind: "tool" } });
    expect((await gate(denying, call(name))).made.answer?.outcome).toBe("denied");
    await expect(gate(asking, call(name))).rejects.toThrow("the gate asked the database"); // For grants: it would ask.
  });

  test("as arguments they are arguments like any other", async () => {
    const strange = JSON.parse('{"command": "ls", "__proto__": {"command": "rm"}}') as Record<string, unknown>;
    const rules = [{ tool: "bash", arguments: { constructor: "*" }, action: "allow" as const }];

    const { made } = await gate(keeper({ policy: { default: "deny", rules } }), bash("ls"));
    const { made: polluted } = await gate(keeper({}), call("bash", strange));

    expect(made.answer?.outcome).toBe("denied");
    expect(polluted.answer?.outcome).toBe("error");
  });
});

describe("a question", () => {
  const args = { question: "Which one?", choices: ["a", "b"], allowFreeform: false };

  test.for(["ask", "allow"] as const)(
    "is put to a person when the policy says %s: nobody is asked whether",
    async (action) => {
      const asking = keeper({ policy: { default: action, rules: [] }, limits: { questionTimeoutMs: 5_000 } });
      const before = Date.now();

      const { made, planned } = await gate(asking, call("ask_user", args));

      expect(made.wait?.request).toEqual({ kind: "question", ...args });
      expect(planned).toMatchObject({ quick: false, wait: { kind: "question", deadline: made.wait?.deadline } });
      expect(made.wait?.deadline).toBeGreaterThanOrEqual(before + 5_000);
      expect(made.wait?.deadline).toBeLessThanOrEqual(Date.now() + 5_000);
    },
  );

  test("that is denied by a rule is not asked", async () => {
    const denying = keeper({ policy: { default: "allow", rules: [{ tool: "ask_user", action: "deny" }] } });

    expect((await gate(denying, call("ask_user", args))).made).toMatchObject({ answer: { outcome: "denied" } });
  });

  test.each([{}, { choices: [] }])("without an answer that could be given is an error in words: %j", async (none) => {
    const given = { question: "?", allowFreeform: false, ...none };
    const { made, planned } = await gate(keeper({}), call("ask_user", given));

    expect(planned).toBeUndefined();
    expect(made.answer?.text).toContain("expected choices");
  });

  test("with an empty list of choices is one without choices", async () => {
    const { made } = await gate(keeper({}), call("ask_user", { question: "?", choices: [] }));

    expect(made.wait?.request).toEqual({ kind: "question", question: "?", allowFreeform: true });
  });
});

describe("a client tool", () => {
  const parameters = {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" } },
    required: ["city"],
    additionalProperties: false,
  };
  const weather = { name: "weather", parameters, timeoutMs: 7_000, replay: "keyed" };

  test("waits for its caller until its own time is up, also where every other tool asks by default", async () => {
    const { made, planned } = await gate(keeper({ policy: {} }, [weather]), call("weather", { city: "Ulm" }));

    expect(made.wait?.request).toEqual({ kind: "tool", replay: "keyed" });
    expect((made.wait?.deadline ?? 0) - Date.now()).toBeGreaterThan(6_000);
    expect((made.wait?.deadline ?? 0) - Date.now()).toBeLessThanOrEqual(7_000);
    expect(planned).toMatchObject({ quick: false, summary: "weather", wait: { kind: "tool" } });
  });

  test.for([
    ["text instead of an object", "{oops", "are not a JSON object: {oops"],
    ["none of what is required", {}, "'city'"],
    ["another type", { city: 7 }, "/city must be string"],
    ["what the schema does not know", { city: "Ulm", secret: 1 }, '"secret"'],
  ] as const)("that is called with %s never reaches its caller", async ([, args, words]) => {
    const { made, planned } = await gate(keeper({}, [weather]), call("weather", args as ToolCallBlock["arguments"]));

    expect(planned).toBeUndefined();
    expect(made.answer).toEqual({ outcome: "error", text: expect.stringContaining(words) });
    expect(made.answer?.text).toMatch(/^The arguments of weather are /);
  });

  test.for([
    ["is broken", { type: "nonsense" }],
    ["refers to what is not there", { $ref: "#/$defs/none" }],
    ["refers to another machine", { $ref: "http://127.0.0.1:1/schema.json" }],
  ] as const)("whose schema %s answers each call with an error, and the step goes on", async ([, schema]) => {
    const broken = keeper({}, [{ name: "weather", parameters: schema }]);

    const { made, planned } = await planCalls(broken, [call("weather", { city: "Ulm" }), bash("ls")]);

    expect(made[0]?.answer).toMatchObject({ outcome: "error" });
    expect(planned).toMatchObject([{ name: "bash" }]);
  });

  test("whose schema would take years to check is given up on in its bound", async () => {
    const years = { type: "object", properties: { city: { type: "string", pattern: "^(a+)+$" } } };
    const hostile = keeper({}, [{ name: "weather", parameters: years }]);
    const began = performance.now();

    const { made, planned } = await gate(hostile, call("weather", { city: `${"a".repeat(64)}!` }));

    expect(planned).toBeUndefined();
    expect(made.answer).toMatchObject({ outcome: "error", text: expect.stringContaining("more than 1000 ms") });
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  test("takes the place of no tool that the agent lacks: it is the one that is called", async () => {
    const of = keeper({ tools: [] }, [{ name: "bash", parameters }]);

    expect((await gate(of, call("bash", { city: "Ulm" }))).planned).toMatchObject({ wait: { kind: "tool" } });
    expect((await gate(of, bash("ls"))).made.answer?.outcome).toBe("error");
  });
});

describe("a handoff", () => {
  const handoffs = [
    { agent: "tester", version: 3 },
    { agent: "writer", version: 1 },
  ];
  const to = (agent: string, args: ToolCallBlock["arguments"] = {}) => call(`transfer_to_${agent}`, args);

  test("is answered at once and names the pinned version, also where everything else asks", async () => {
    const { made, planned } = await gate(keeper({ handoffs, policy: { default: "ask", rules: [] } }), to("tester"));

    expect(planned).toBeUndefined();
    expect(made).toMatchObject({ answer: { outcome: "ok" }, handOver: { id: "tester", version: 3 } });
  });

  test("that a rule denies does not take place", async () => {
    const rules = [{ tool: "transfer_to_*", action: "deny" as const, reason: "stay" }];

    const { made } = await gate(keeper({ handoffs, policy: { default: "allow", rules } }), to("tester"));

    expect(made).not.toHaveProperty("handOver");
    expect(made.answer).toMatchObject({ outcome: "denied", text: expect.stringContaining("stay") });
  });

  test("to an agent that the profile does not list is a call of no tool", async () => {
    const { made } = await gate(keeper({ handoffs, policy: { default: "allow", rules: [] } }), to("admin"));

    expect(made.answer).toMatchObject({ outcome: "error" });
    expect(made.answer?.text).toMatch(/^There is no tool "transfer_to_admin".*transfer_to_tester, transfer_to_writer/);
  });

  test("is one for each reply: of two the first goes, and the other is told so", async () => {
    const { made } = await planCalls(keeper({ handoffs }), [to("tester"), to("writer")]);

    expect(made.map(({ handOver }) => handOver?.id)).toEqual(["tester", undefined]);
    expect(made[1]?.answer).toMatchObject({ outcome: "error", text: expect.stringContaining("handed over already") });
  });

  test("that was denied leaves the next one its place", async () => {
    const rules = [{ tool: "transfer_to_tester", action: "deny" as const }];

    const { made } = await planCalls(keeper({ handoffs, policy: { rules } }), [to("tester"), to("writer")]);

    expect(made.map(({ handOver }) => handOver?.id)).toEqual([undefined, "writer"]);
  });

  test("beside other calls takes nothing from them", async () => {
    const { made, planned } = await planCalls(keeper({ handoffs }), [bash("ls"), to("writer", "{"), call("nope")]);

    expect(planned).toMatchObject([{ name: "bash" }]);
    expect(made.map(({ answer }) => answer?.outcome)).toEqual([undefined, "ok", "error"]);
  });

  test("without a version that was pinned is a fault of ours, and no agent is guessed", async () => {
    await expect(gate(keeper({ handoffs: [{ agent: "tester" }] }), to("tester"))).rejects.toThrow("no pinned version");
  });
});
