/** What rules say of commands: what cannot be told, what the shell puts in, redirections, variables, wrappers. */
import { describe, expect, test } from "vitest";
import { judge } from "../../policy/policy.ts";
import { aCommand, type CommandRule, commandPolicy, judgeCommand } from "./calls.ts";

describe("what cannot be told", () => {
  test.each(["$x y", "eval $x", "curl x | sh", "git 'unclosed"])(
    "is asked about though commands are allowed by default: %j",
    (line) => {
      expect(judge({ ...commandPolicy("deny rm *"), default: "allow" }, aCommand(line)).action).toBe("ask");
    },
  );

  test("follows the default when no rule is about commands", () => {
    expect(judge({ default: "allow", rules: [] }, aCommand("$x y")).action).toBe("allow");
    expect(judge({ default: "deny", rules: [] }, aCommand("$x y")).action).toBe("deny");
    expect(judge({ rules: [] }, aCommand("$x y")).action).toBe("ask");
  });

  test("is allowed by a rule for everything, and by one that says nothing of the command", () => {
    expect(judgeCommand("$x y", "allow *").action).toBe("allow");
    expect(judge({ rules: [{ tool: "bash", action: "allow" }] }, aCommand("$x y")).action).toBe("allow");
  });

  test("is not forbidden by a word that only contains the forbidden one", () => {
    expect(judgeCommand("$x farm rmdir a.rm-rf", "deny rm *").action).toBe("ask");
  });

  test("is denied by a longer pattern that occurs in it", () => {
    expect(judgeCommand("$x; git   push --force", "deny git push*--force", "allow *").action).toBe("deny");
    expect(judgeCommand("$x; git push", "deny git push*--force", "allow *").action).toBe("ask");
  });

  test("is a line that is too long, too deep, or has too many commands", () => {
    for (const line of [
      "a".repeat(64 * 1024 + 1),
      "$(".repeat(100),
      `${"(".repeat(100)}ls${")".repeat(100)}`,
      "ls;".repeat(2000),
    ]) {
      expect(judgeCommand(line, "allow ls *", "allow a*").action).toBe("ask");
    }
  });

  test("is an argument that is not a text", () => {
    expect(judge(commandPolicy("allow ls *"), aCommand(["ls"])).action).toBe("ask");
    expect(judge(commandPolicy("deny rm *", "allow *"), aCommand({ a: "rm x" })).action).toBe("deny");
  });
});

describe("what the shell puts in later", () => {
  test("is asked about when it could make the command a forbidden one", () => {
    const verdict = judgeCommand("git $x", "deny git push *", "allow git *");

    expect(verdict.action).toBe("ask");
    expect(verdict.reason).toBe(
      "rule 1 (bash, command: git push *) might match once the shell has run; command: git $x",
    );
  });

  test.each(["git log $x", 'git commit -m "$x"', "git pull *"])("is no matter where it could not: %j", (line) => {
    expect(judgeCommand(line, "deny git push *", "allow git *").action).toBe("allow");
  });

  test("is spanned by a star of an allowing pattern, never by its text", () => {
    expect(judgeCommand("npm run $x", "allow npm run *").action).toBe("allow");
    expect(judgeCommand("npm run $x", "allow npm run $x").action).toBe("ask");
    expect(judgeCommand("npm run {test,evil}", "allow npm run {test,evil}").action).toBe("ask");
  });
});

describe("files that a command writes", () => {
  const rules: CommandRule[] = ["deny * > /etc/*", "allow echo * > out/*", "allow cat * >> log", "allow echo *"];

  test.each([
    "echo a > out/b",
    "echo a >> out/b",
    "echo a > ./out/../out/b",
    "echo a 2> out/e > out/b",
    "cat x >> log",
    "echo a",
  ])("are allowed where the pattern says so: %j", (line) => {
    expect(judgeCommand(line, ...rules).action).toBe("allow");
  });

  test.each([
    "echo a > b",
    "echo a > out/../b",
    "echo a > out/b > c",
    "echo a > c '> out/b'",
    "echo a > $x",
    "echo a > out/$x",
    "cat x > log",
    "cat x > out/b",
    "echo a > /tmp/out/b",
  ])("are asked about where it does not: %j", (line) => {
    expect(judgeCommand(line, ...rules).action).toBe("ask");
  });

  test.each([
    "echo a > /etc/b",
    "echo a >> /etc/b",
    "echo a > /tmp/../etc/b",
    "ls &> /etc/b",
    "{ ls; } > /etc/b",
    "> /etc/b",
  ])("are denied where a pattern says so: %j", (line) => {
    expect(judgeCommand(line, ...rules).action).toBe("deny");
  });

  test("are given to commands by name too", () => {
    expect(judgeCommand("cat < /etc/shadow", "deny *shadow*", "allow cat *").action).toBe("deny");
  });
});

describe("variables before a command", () => {
  test("that decide what runs are allowed where the pattern names them", () => {
    expect(judgeCommand("GIT_PAGER=cat git log", "allow git *", "allow GIT_PAGER=cat git *").action).toBe("allow");
    expect(judgeCommand("GIT_PAGER=evil git log", "allow git *", "allow GIT_PAGER=cat git *").action).toBe("ask");
  });

  test("can be forbidden", () => {
    expect(judgeCommand("A=1 ls", "deny A=*", "allow ls *").action).toBe("deny");
    expect(judgeCommand("A=1; ls", "deny A=*", "allow ls *").action).toBe("deny");
  });
});

describe("what only another shell would run", () => {
  test.each(["x=1; git log", "((i++)); git log", "while git log; do git log; done < file"])(
    "needs nobody's leave, also where a rule denies all the rest: %j",
    (line) => {
      expect(judgeCommand(line, "allow git *", "deny *").action).toBe("allow");
      expect(
        judge({ rules: [...commandPolicy("allow git *").rules, { tool: "*", action: "deny" }] }, aCommand(line)).action,
      ).toBe("allow");
    },
  );

  test("is denied by a rule that says so", () => {
    expect(judgeCommand("((reboot)); git log", "deny reboot", "allow git *").action).toBe("deny");
  });

  test.each(["x=1", "((i++))", "# a"])(
    "is judged as a command without words where there is nothing else: %j",
    (line) => {
      expect(judgeCommand(line, "allow git *", "deny *").action).toBe("deny");
      expect(judgeCommand(line, "allow git *").action).toBe("ask");
    },
  );
});

describe("a wrapper and what it runs", () => {
  test.each(["timeout 5 git log", "xargs git log", "env git log", "bash -c 'git log'", "sudo -u a git log"])(
    "are both to be allowed: %j",
    (line) => {
      const wrappers: CommandRule[] = [
        "allow timeout *",
        "allow xargs *",
        "allow env *",
        "allow bash *",
        "allow sudo *",
      ];
      expect(judgeCommand(line, "allow git *").action).toBe("ask");
      expect(judgeCommand(line, ...wrappers).action).toBe("ask");
      expect(judgeCommand(line, "allow git *", ...wrappers).action).toBe("allow");
    },
  );

  test("that only prints about a command does not run it", () => {
    expect(judgeCommand("command -v rm", "deny rm *", "allow command *").action).toBe("allow");
  });

  test("that appends arguments is not covered by a pattern without a star", () => {
    expect(judgeCommand("ls | xargs cat", "allow ls", "allow xargs *", "allow cat").action).toBe("ask");
  });
});
