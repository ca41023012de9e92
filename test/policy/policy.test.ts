/** The verdict on a call: rules in order, defaults, tools that ask for an approval, names that are traps, reasons. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { Policy } from "../../contract/policy.ts";
import { judge, matchesArguments } from "../../policy/policy.ts";
import { aCall, aCommand, aPath, commandPolicy } from "./calls.ts";

function policy(rules: unknown[], fallback?: "allow" | "ask" | "deny"): Policy {
  return Policy.parse({ rules, ...(fallback !== undefined && { default: fallback }) });
}

describe("rules", () => {
  test("the first one that matches wins", () => {
    const rules = [
      { tool: "a", action: "ask" },
      { tool: "*", action: "allow" },
      { tool: "a", action: "deny" },
    ];

    expect(judge(policy(rules), aCall({ tool: "a" })).action).toBe("ask");
    expect(judge(policy(rules), aCall({ tool: "b" })).action).toBe("allow");
  });

  test("all argument patterns of a rule must match", () => {
    const rules = [{ tool: "*", arguments: { a: "x*", b: "y" }, action: "deny" }];

    expect(judge(policy(rules, "allow"), aCall({ arguments: { a: "x1", b: "y" } })).action).toBe("deny");
    expect(judge(policy(rules, "allow"), aCall({ arguments: { a: "x1", b: "z" } })).action).toBe("allow");
  });

  test("a pattern never matches an argument that is absent", () => {
    const rules = [{ tool: "*", arguments: { a: "*" }, action: "deny" }];

    expect(judge(policy(rules, "allow"), aCall()).action).toBe("allow");
    expect(judge(policy(rules, "allow"), aCall({ argumentKinds: { a: "command" } })).action).toBe("allow");
  });

  test.each([
    [3, "3"],
    [true, "true"],
    [null, "null"],
    ["a\nb", "a*b"],
    [{ b: 1, a: [2, "x"] }, '{"a":[2,"x"],"b":1}'],
    [[1, { b: undefined }], "[1,{}]"],
  ])("an argument of %j is matched as text by %j", (value, pattern) => {
    const rules = [{ tool: "*", arguments: { a: pattern }, action: "deny" }];
    expect(judge(policy(rules, "allow"), aCall({ arguments: { a: value } })).action).toBe("deny");
  });

  test("each command of a line is judged by its own first match, and the strictest verdict wins", () => {
    const rules = commandPolicy("allow git status", "ask git *", "deny rm *", "allow ls");

    expect(judge(rules, aCommand("git status; ls")).action).toBe("allow");
    expect(judge(rules, aCommand("git status; git push; ls")).action).toBe("ask");
    expect(judge(rules, aCommand("git push; rm x; ls")).action).toBe("deny");
  });

  test("a rule on a command and a folder matches where both do", () => {
    const rules = policy([{ tool: "bash", arguments: { command: "make *", cwd: "app/**" }, action: "allow" }]);

    expect(judge(rules, aCommand("make", { arguments: { command: "make", cwd: "./app/x" } })).action).toBe("allow");
    expect(judge(rules, aCommand("make", { arguments: { command: "make", cwd: "app/../lib" } })).action).toBe("ask");
    expect(judge(rules, aCommand("make")).action).toBe("ask");
  });

  test("a rule on two commands of a call needs both to allow, and any to forbid", () => {
    const call = aCall({
      tool: "two",
      arguments: { a: "ls", b: "ls; rm x" },
      argumentKinds: { a: "command", b: "command" },
    });
    const rule = { tool: "two", arguments: { a: "ls", b: "ls" } };

    expect(judge(policy([{ ...rule, action: "allow" }]), call).action).toBe("ask");
    expect(judge(policy([{ ...rule, action: "deny" }], "allow"), call).action).toBe("deny");
  });
});

describe("names that every object has", () => {
  test.each(["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"])(
    "%s is a tool like another",
    (tool) => {
      expect(judge(policy([{ tool: "read", action: "allow" }]), aCall({ tool })).action).toBe("ask");
      expect(judge(policy([{ tool, action: "deny" }], "allow"), aCall({ tool })).action).toBe("deny");
    },
  );

  test.each(["constructor", "toString", "__proto__"])("%s is an argument like another", (name) => {
    const rules: Policy = { default: "allow", rules: [{ tool: "*", arguments: own(name, "*"), action: "deny" }] };

    expect(judge(rules, aCall()).action).toBe("allow");
    expect(judge(rules, aCall({ arguments: own(name, "x") })).action).toBe("deny");
    expect(judge(rules, aCall({ arguments: own(name, "x"), argumentKinds: own(name, "path") })).action).toBe("deny");
  });
});

describe("without a matching rule", () => {
  test.each([
    [undefined, true, "ask"],
    [undefined, false, "allow"],
    ["allow", true, "allow"],
    ["ask", false, "ask"],
    ["deny", false, "deny"],
  ] as const)("default %s, changes the world: %s → %s", (fallback, changesWorld, action) => {
    expect(judge(policy([], fallback), aCall({ changesWorld })).action).toBe(action);
  });

  test("and without a policy everything is allowed", () => {
    expect(judge(undefined, aCommand("rm -rf /")).action).toBe("allow");
  });
});

describe("a tool that asks for an approval", () => {
  const call = aCall({ tool: "pay", needsApproval: true, changesWorld: false });

  test.each([
    ["no policy", undefined, "ask"],
    ["an empty policy", policy([]), "ask"],
    ["a default of allow", policy([], "allow"), "ask"],
    ["a default of deny", policy([], "deny"), "deny"],
    ["a rule that asks", policy([{ tool: "pay", action: "ask" }], "allow"), "ask"],
    ["a rule that denies", policy([{ tool: "pay", action: "deny" }], "allow"), "deny"],
    ["a rule for another tool", policy([{ tool: "pays", action: "allow" }], "allow"), "ask"],
    ["a rule that allows it", policy([{ tool: "pay", action: "allow" }]), "allow"],
    ["a rule that allows everything", policy([{ tool: "*", action: "allow" }]), "allow"],
  ] as const)("%s → %s", (_what, rules, action) => {
    expect(judge(rules, call).action).toBe(action);
  });

  test("asks for a line of which only one command is allowed by a rule", () => {
    const rules = { ...commandPolicy("allow git *"), default: "allow" as const };

    expect(judge(rules, aCommand("git log", { needsApproval: true })).action).toBe("allow");
    expect(judge(rules, aCommand("git log; ls", { needsApproval: true })).action).toBe("ask");
  });
});

describe("paths", () => {
  const rules = policy([
    { tool: "*", arguments: { path: "secrets/**" }, action: "deny" },
    { tool: "read_*", arguments: { path: "src/**" }, action: "allow" },
    { tool: "read_*", arguments: { path: "*" }, action: "ask" },
  ]);

  test.each([
    ["src/a", "allow"],
    ["src/../secrets/a", "deny"],
    ["/project/secrets", "deny"],
    ["src2/a", "ask"],
    ["../x", "ask"],
    ["/etc/passwd", "ask"],
    [undefined, "ask"],
    [7, "ask"],
    [["src/a", "src/b"], "allow"],
    [["src/a", "secrets/b"], "deny"],
    [["src/a", "../b"], "ask"],
  ])("%j → %s", (path, action) => {
    expect(judge(rules, aPath(path)).action).toBe(action);
  });

  test("that lead out are allowed by no glob, not even by the one for everything", () => {
    const open = policy([{ tool: "*", arguments: { path: "**" }, action: "allow" }], "ask");

    expect(judge(open, aPath("a")).action).toBe("allow");
    expect(judge(open, aPath("../a")).action).toBe("ask");
    expect(judge(open, aPath("/work2/a")).action).toBe("ask");
  });

  test("under a glob that cannot be read are not allowed by it, and all forbidden by it", () => {
    expect(judge(policy([{ tool: "*", arguments: { path: "{a" }, action: "allow" }], "ask"), aPath("{a")).action).toBe(
      "ask",
    );
    expect(judge(policy([{ tool: "*", arguments: { path: "/etc/**" }, action: "deny" }]), aPath("a")).action).toBe(
      "deny",
    );
  });
});

describe("reasons", () => {
  test("name the rule, why it is there, and the command that decided", () => {
    const rules = policy([{ tool: "bash", arguments: { command: "rm *" }, action: "deny", reason: "no deletions" }]);

    expect(judge(rules, aCommand("ls && rm -rf /")).reason).toBe(
      "rule 1 (bash, command: rm *): no deletions; command: rm -rf /",
    );
  });

  test("say what the default is, or why it is that", () => {
    expect(judge(policy([], "deny"), aCall()).reason).toBe("no rule matches; the default is deny");
    expect(judge(policy([]), aCall()).reason).toBe("no rule matches; tools that change the world ask");
    expect(judge(policy([]), aCall({ needsApproval: true, changesWorld: false })).reason).toBe(
      "the tool asks for an approval, and no rule allows it",
    );
  });

  test("say why a line cannot be read", () => {
    expect(judge(commandPolicy("allow ls *"), aCommand("ls 'x")).reason).toContain(
      "is not a shell line that can be read",
    );
  });

  test("are one line of bounded length, whatever is in the policy and the call", () => {
    const long = "x".repeat(LIMITS.patternCharactersMax);
    const rule = { tool: "*", arguments: { command: "*", a: "*", b: long }, action: "deny", reason: "y".repeat(2_000) };
    const call = aCommand(`'\u001b[2J${"z".repeat(5_000)}\n\r\n'`);

    const { reason } = judge(policy([rule]), { ...call, arguments: { ...call.arguments, a: 1, b: long } });

    expect(reason.length).toBeLessThanOrEqual(LIMITS.reasonCharactersMax);
    expect(judge(commandPolicy("deny *"), call).reason).not.toMatch(/\p{Cc}/u);
  });
});

describe("what a grant remembers", () => {
  test.each([
    [{ command: "git *" }, "git log && git status", true],
    [{ command: "git *" }, "git log && rm x", false],
    [{ command: "git *" }, "git log > x", false],
    [{ command: "git *" }, "$x", false],
    [{ command: "git *" }, "git log; git 'x", false],
    [{ command: "git *" }, "CI=1 git log", true],
    [{ command: "git *" }, "x=1 git log", false],
    [{ command: "x=* git *" }, "x=1 git log", true],
    [{ command: "git *" }, "git log; [[ -v x ]]", false],
    [{ command: "*" }, "$x; rm y", true],
    [{ command: "git *", other: "*" }, "git log", false],
  ])("%j covers %j: %s", (patterns, line, covered) => {
    expect(matchesArguments(patterns, aCommand(line))).toBe(covered);
  });

  test.each([
    ["ls; rm x", true],
    ["$x; rm y", true],
    ["/bin/rm x", true],
    ["git log", false],
    ["$x", false],
  ])("as a denial speaks of a line with one such command: %j", (line, covered) => {
    expect(matchesArguments({ command: "rm *" }, aCommand(line), "deny")).toBe(covered);
  });

  test("holds for paths in the workspace alone", () => {
    expect(matchesArguments({ path: "src/**" }, aPath("src/a"))).toBe(true);
    expect(matchesArguments({ path: "**" }, aPath("../a"))).toBe(false);
    expect(matchesArguments({ path: "{a" }, aPath("{a"))).toBe(false);
  });

  test("holds for other arguments by their text", () => {
    expect(matchesArguments({ amount: "1*" }, aCall({ arguments: { amount: 12 } }))).toBe(true);
    expect(matchesArguments({ amount: "1*" }, aCall({ arguments: { amount: 21 } }))).toBe(false);
    expect(matchesArguments({ amount: "*" }, aCall())).toBe(false);
  });
});

/** An object with that name of its own, `__proto__` too. */
function own<Value>(name: string, value: Value): Record<string, Value> {
  return Object.defineProperty({}, name, { value, enumerable: true });
}
