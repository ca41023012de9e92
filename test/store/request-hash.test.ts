/** A repeated request for a session is told from another one, over releases. */
import { expect, test } from "vitest";
import { Agent } from "../../contract/agents.ts";
import { sessionRequestHash } from "../../store/request-hash.ts";

const plain = { title: undefined, metadata: {} };

/** As 0.1 wrote them. They are in databases: no line here may change. */
const OF_0_1 = [
  ["nothing", {}, plain, "38fa010a112ad4895a02c7aeacdbe75b31c63ee5ef71f62cc575a65f46429ec9"],
  [
    "a model, a title and metadata",
    { model: "gpt-5-mini" },
    { title: "t", metadata: { b: "2", a: "1" } },
    "1a1f0ec1e4559127f1d29e12967269e19cfe2e473741afdd8870e691ba91ef17",
  ],
  [
    "every field of an agent",
    {
      name: "coder",
      instructions: "be brief",
      model: "m",
      modelSettings: { api: "responses", temperature: 0.5 },
      tools: ["bash"],
      limits: { stepsPerTurn: 7 },
      outputSchema: { type: "object" },
      artifacts: ["out"],
    },
    plain,
    "e85ebc61556da7740486119aadec905be68d5bd65b9b9adbbec7c33029207d02",
  ],
  ["no tools", { tools: [] }, plain, "ff84a465c3e263101032db5c88946c8c4fefe746e81bbaf0bca7ea207a47f31e"],
] as const;

test.for(OF_0_1)("a request of 0.1 with %s has the hash that 0.1 gave it", ([, agent, rest, hash]) => {
  expect(sessionRequestHash({ agent: Agent.parse(agent), ...rest })).toBe(hash);
});

test("every difference of two requests is a difference of their hashes", () => {
  const requests = [
    { agent: Agent.parse({}) },
    { agent: Agent.parse({ policy: { rules: [] } }) },
    { agent: Agent.parse({ approver: "none" }) },
    { agent: Agent.parse({ description: "d" }) },
    { agent: Agent.parse({ modelSettings: { topP: 1 } }) },
    { agent: Agent.parse({ modelSettings: { temperature: 1 } }) },
    { agent: Agent.parse({ limits: { approvalTimeoutMs: 1_000 } }) },
    { agent: Agent.parse({ environment: { A: "1" } }) },
    { agent: Agent.parse({ files: [{ path: "a", content: "" }] }) },
    { agent: Agent.parse({ handoffs: [{ agent: "b" }] }) },
    { agent: { id: "a" } },
    { agent: { id: "a", version: 1 } },
    { agent: { id: "a", version: 2 } },
    { agent: { id: "a" }, overrides: { model: "m" } },
    { agent: { id: "a" }, clientTools: [aTool("t")] },
    { agent: { id: "a" }, clientTools: [aTool("u")] },
    { agent: Agent.parse({}), clientTools: [aTool("t")] },
    { agent: Agent.parse({}), title: "t" },
    { agent: Agent.parse({}), metadata: { a: "1" } },
  ];

  const hashes = requests.map((request) => sessionRequestHash({ ...plain, ...request }));

  expect(new Set(hashes).size).toBe(requests.length);
});

test("a field that one leaves out and another gives its default are the same request", () => {
  const left = { agent: Agent.parse({ description: "d" }), ...plain };
  const given = { agent: Agent.parse({ ...left.agent }), overrides: {}, clientTools: [], ...plain };

  expect(sessionRequestHash(given)).toBe(sessionRequestHash(left));
});

function aTool(name: string) {
  return { name, description: "", parameters: { type: "object" }, timeoutMs: 1_000, replay: "ask" as const };
}
