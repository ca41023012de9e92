/** What rules say of commands: what cannot be told, what the shell puts in, redirections, variables, wrappers. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: ${ is the shell's here
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
    const verdict = judgeCommand('git "$x"', "deny git push *", "allow git *");

    expect(verdict.action).toBe("ask");
    expect(verdict.reason).toBe("rule 1 (bash, command: git push *) might match once this has run; command: git $x");
  });

  test.each(['git log "$x"', 'git commit -m "$x"', "git pull ./*"])("is no matter where it could not: %j", (line) => {
    expect(judgeCommand(line, "deny git push *", "allow git *").action).toBe("allow");
  });

  test("is spanned by a star of an allowing pattern, never by its text", () => {
    expect(judgeCommand('npm run "$x"', "allow npm run *").action).toBe("allow");
    expect(judgeCommand('npm run "$x"', "allow npm run $x").action).toBe("ask");
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
    "is not covered by a pattern for one command: %j",
    (line) => {
      expect(judgeCommand(line, "allow git *").action).toBe("ask");
      expect(judgeCommand(line, "allow git *", "deny *").action).toBe("deny");
      expect(judgeCommand(line, "allow git *", "allow *").action).toBe("allow");
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

describe("a command that runs in another folder", () => {
  const rules: CommandRule[] = [
    "allow ./build *",
    "allow cd *",
    "allow echo * > out/*",
    "allow git status *",
    "allow ls *",
  ];

  test.each(["./build", "ls && ./build x", "echo a > out/b", "cd lib && git status"])("is allowed: %j", (line) => {
    expect(judgeCommand(line, ...rules).action).toBe("allow");
  });

  test.each(["cd lib && ./build", "cd lib; ls; ./build", "cd lib\necho a > out/b", "cd lib; bash -c ./build"])(
    "is not the one that the rule means: %j",
    (line) => {
      expect(judgeCommand(line, ...rules, "allow bash -c *").action).toBe("ask");
    },
  );

  test("by its cwd is judged likewise, unless the rule speaks of that folder", () => {
    const judgeIn = (cwd: string, rule: object): string =>
      judge(
        { rules: [{ tool: "bash", arguments: { command: "./build *", ...rule }, action: "allow" }] },
        aCommand("", { arguments: { command: "./build", cwd } }),
      ).action;

    expect(judgeIn("lib", {})).toBe("ask");
    expect(judgeIn("./lib/..", {})).toBe("allow");
    expect(judgeIn("lib", { cwd: "lib" })).toBe("allow");
  });
});

describe("a pattern that allows", () => {
  test.each([
    ["bash scripts/build.sh *", "bash 'scripts/build.sh evil'"],
    ["git status", "git 'status '"],
    ["git log *", "'git log' x"],
    ["git log *", "git '' log"],
    ["npm run test *", "npm 'run test'"],
  ])("%j does not join or divide words: %j", (pattern, line) => {
    expect(judgeCommand(line, `allow ${pattern}`).action).toBe("ask");
  });

  test.each(["env ls --help", "sudo --help", "xargs rm --help", "bash -c id --help", "prlimit rm --help"])(
    "covers a command that runs another only by its own name: %j",
    (line) => {
      expect(judgeCommand(line, "allow * --help", "allow ls *", "allow id *").action).toBe("ask");
    },
  );

  test.each([
    ["A=1 git log", "A=1 git *", "allow"],
    ["A=1 git log", "A=* git *", "allow"],
    ["A=1 B=2 git log", "A=* git *", "ask"],
    ["A='1 git x' LD_PRELOAD=x git log", "A=* git *", "ask"],
    ["A=2 git log", "A=1 git *", "ask"],
    ["git log", "A=1 git *", "ask"],
    ["LD_PRELOAD=x git log", "* git *", "ask"],
    ["LD_PRELOAD=x git log", "*git *", "ask"],
    ["env LD_PRELOAD=x git log", "git *", "ask"],
  ] as const)("of %j, %j is to be told all variables: %s", (line, pattern, action) => {
    expect(judgeCommand(line, `allow ${pattern}`, "allow env *").action).toBe(action);
  });
});

describe("ordinary lines", () => {
  const rules: CommandRule[] = [
    ...([
      "git status *",
      "git diff *",
      "git add *",
      "git commit *",
      "npm test *",
      "npm run build *",
      "tail *",
    ] as const),
    ...([
      "grep *",
      "head *",
      "wc *",
      "cat *",
      "sort *",
      "ls *",
      "find *",
      "cd *",
      "test *",
      "[ *",
      "echo *",
      "node *",
    ] as const),
    ...(["command *", "timeout *", "cat * > src/*", "npm run build * > build.log"] as const),
  ].map((pattern): CommandRule => `allow ${pattern}`);

  test.each([
    "git status -s && npm test 2>&1 | tail -5",
    "cd packages/app && npm test -- --run test/a.test.ts",
    "grep -rn 'foo(bar)' src/ | head -20",
    'grep -n "^import .*from" src/a.ts | wc -l',
    "git add -A && git commit -m \"fix(api): it's done\" -m 'more (text); $x'",
    "git diff HEAD~1 -- src/a.ts test/*.ts",
    "npm run build > build.log 2>&1",
    "cat > src/a.ts <<'EOF'\nconst x = `${y}`;\nEOF",
    "find . -name '*.ts' -not -path './node_modules/*' | sort | head",
    "[ -f package.json ] && cat package.json || echo none",
    "ls -la 2>/dev/null; ls -la src",
    "command -v node && node --version",
    "timeout 60 npm test",
    "NODE_ENV=test npm test",
    "# look first\ngit status\n\n# then test\nnpm test\n",
    "sort -t, -k2 < data.csv",
    'echo "exit: done in $PWD"',
  ])("are allowed by rules that say so: %j", (line) => {
    expect(judgeCommand(line, ...rules)).toMatchObject({ action: "allow" });
  });
});
