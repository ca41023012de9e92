/** Agents as files: what is read of them, and what is said of those that are none. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { isAgentFile, readAgentFile } from "../../store/agent-files.ts";

const read = (name: string, text: string) => readAgentFile(name, Buffer.from(text));

describe("a file of an agent", () => {
  test("in JSON is the profile, with the file's name where it gives none", () => {
    expect(read("coder.json", '{"model": "m"}')).toEqual({ id: "coder", profile: { name: "coder", model: "m" } });
    expect(read("coder.json", '{"name": "The coder"}').profile).toEqual({ name: "The coder" });
  });

  test("in Markdown is its front matter, and its text the instructions", () => {
    const text =
      "---\nname: Coder\ntools: [bash, grep]\nlimits:\n  stepsPerTurn: 5\n---\n\n# You code\n\n---\nStill text.\n";

    expect(read("coder.md", text)).toEqual({
      id: "coder",
      profile: {
        name: "Coder",
        tools: ["bash", "grep"],
        limits: { stepsPerTurn: 5 },
        instructions: "# You code\n\n---\nStill text.",
      },
    });
  });

  test.for([
    ["Windows line ends", "---\r\nmodel: m\r\n---\r\nBe brief.\r\n"],
    ["a byte order mark", "\ufeff---\nmodel: m\n---\nBe brief."],
    ["spaces after the dashes", "---  \nmodel: m\n--- \nBe brief.\n\n"],
  ] as const)("in Markdown may have %s", ([, text]) => {
    expect(read("a.md", text).profile).toEqual({ name: "a", model: "m", instructions: "Be brief." });
  });

  test.for([
    ["---\n---\nBe brief.", { name: "a", instructions: "Be brief." }],
    ["---\nmodel: m\n---", { name: "a", model: "m" }],
    ["---\nmodel: m\n---\n\n", { name: "a", model: "m" }],
  ] as const)("may have only one of both: %j", ([text, profile]) => {
    expect(read("a.md", text).profile).toEqual(profile);
  });
});

describe("a file that is none", () => {
  const bomb = `a: &a [x, x]\n${[..."bcdefghij"].map((c, i) => `${c}: &${c} [${Array(9).fill(`*${"abcdefghi"[i]}`)}]`).join("\n")}`;

  test.for([
    ["has a name that is no id", "a b.json", "{}", /the name of the file is the agent's id/],
    ["ends in something else", "a.yaml", "{}", /ends in \.json or \.md/],
    ["is no JSON", "a.json", "{", /expected JSON/],
    ["is a JSON list", "a.json", "[]", /expected a JSON object/],
    ["is JSON's null", "a.json", "null", /expected a JSON object/],
    ["has no front matter", "a.md", "# Readme\n", /expected front matter/],
    ["has front matter without an end", "a.md", "---\nmodel: m\n", /expected front matter/],
    ["has a list for front matter", "a.md", "---\n- a\n---\n", /a YAML mapping/],
    ["has YAML that cannot be parsed", "a.md", "---\na: [\n---\n", /expected YAML in the front matter/],
    ["has a key twice", "a.md", "---\na: 1\na: 2\n---\n", /expected YAML in the front matter/],
    ["has aliases that unfold without end", "a.md", `---\n${bomb}\n---\n`, /expected YAML in the front matter/],
    ["has instructions in two places", "a.md", "---\ninstructions: x\n---\ny", /not in both/],
    ["is too long", "a.json", " ".repeat(LIMITS.agentFileBytesMax + 1), /expected at most/],
  ] as const)("%s, and is told so", ([, name, text, message]) => {
    expect(() => read(name, text)).toThrow(
      expect.objectContaining({ name: "AgentFileError", message: expect.stringMatching(message) }),
    );
  });

  test("is no text", () => {
    expect(() => readAgentFile("a.json", Uint8Array.of(0xff, 0xfe))).toThrow("expected text in UTF-8");
  });

  test.for([".hidden.json", "a.txt", "json", "a.json.bak"])("is passed over by its name: %s", (name) => {
    expect(isAgentFile(name)).toBe(false);
  });
});
