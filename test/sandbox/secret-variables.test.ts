/** Secrets of a command in a host's sandbox: it gets them as variables, and nobody reads them in arguments or files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CallId } from "../../contract/ids.ts";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import type { CommandStart, Sandbox } from "../../sandbox/provider.ts";

const ODD = `line 1\nline "2" '$HOME' \`id\` \\n * é 漢 \t end`;

const found = await detectBubblewrap();
const PROVIDERS = [
  { name: "local", create: createLocalProvider, works: true },
  {
    name: found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
    create: createBubblewrapProvider,
    works: found.works,
  },
];

for (const { name, create, works } of PROVIDERS) {
  describe.skipIf(!works)(name, () => describeSecrets(create));
}

function describeSecrets(create: typeof createLocalProvider): void {
  const root = mkdtempSync(path.join(os.tmpdir(), "perdure-secrets-"));
  const provider = create({ root });
  let sandbox: Sandbox;
  let calls = 0;

  beforeAll(async () => {
    sandbox = await provider.open("sbx_secrets");
  });
  afterAll(async () => {
    await provider.remove("sbx_secrets");
    rmSync(root, { recursive: true, force: true });
  });

  async function run(start: Pick<CommandStart, "command" | "environment" | "secrets">): Promise<string> {
    const callId: CallId = `call_secret-${++calls}`;
    await sandbox.start({ callId, timeoutMs: 5_000, ...start });
    const pieces: Uint8Array[] = [];
    for await (const event of sandbox.follow(callId, { stdout: 0, stderr: 0 }, AbortSignal.timeout(8_000))) {
      if (event.type === "output") pieces.push(event.bytes);
    }
    return Buffer.concat(pieces).toString();
  }

  test("a command has its secrets as variables, whatever they hold, over other variables of the same name", async () => {
    const secrets = { TOKEN: ODD, EMPTY: "", _x9: "a b" };

    const printed = await run({
      command: 'printf "%s|%s|%s|%s" "$TOKEN" "$EMPTY" "$_x9" "$OTHER"',
      environment: { TOKEN: "not this one", OTHER: "o" },
      secrets,
    });

    expect(printed).toBe(`${ODD}||a b|o`);
  });

  test("nothing of how it was passed is left in the command's environment, and none of it comes to the next command", async () => {
    const names = "env | sed 's/=.*//' | grep -E 'SECRET|TOKEN' | sort | tr '\\n' ' '";

    expect(await run({ command: names, secrets: { TOKEN: "value-of-it" } })).toBe("TOKEN ");
    expect(await run({ command: names })).toBe("");
  });

  test("a secret named like what programs are found by neither stops the command nor reaches its supervisor", async () => {
    expect(await run({ command: "echo $PATH", secrets: { PATH: "/nowhere" }, environment: { A: "1" } })).toBe(
      "/nowhere\n",
    );
    expect(await run({ command: "echo $BASH_ENV", secrets: { BASH_ENV: "/nowhere/at-all" } })).toContain(
      "/nowhere/at-all\n",
    );
  });

  test("a secret named like a word of the supervisor's own script changes nothing of what runs", async () => {
    const names = ["command", "shell", "call", "dir", "name", "value", "secrets", "watcher"];
    const secrets = Object.fromEntries(names.map((name) => [name, `its ${name}`]));
    const printed = await run({ command: `echo ${names.map((name) => `"$${name}"`).join(", ")}`, secrets });

    expect(printed).toBe(`${names.map((name) => `its ${name}`).join(", ")}\n`);
  });

  test("a long command, which goes by a file, has them too", async () => {
    expect(
      await run({ command: `: ${"x".repeat(150_000)}\nprintf %s "$TOKEN"`, secrets: { TOKEN: "0123456789" } }),
    ).toBe("0123456789");
  });

  test("while it runs no process has the value among its arguments, and no file of the sandbox has it at all", async () => {
    const value = "seen-nowhere-5f2c9";
    const callId: CallId = "call_secret-watched";
    await sandbox.start({ callId, command: "read -r _ <gate; echo done", timeoutMs: 5_000, secrets: { TOKEN: value } });

    const lines = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => textOf(`/proc/${pid}/cmdline`));

    expect(lines.filter((line) => line.includes(value))).toEqual([]);
    await sandbox.kill(callId);
    const files = readdirSync(root, { recursive: true, encoding: "utf8" }).map((name) => path.join(root, name));
    expect(files.filter((file) => statSync(file).isFile() && textOf(file).includes(value))).toEqual([]);
  });

  test.each([["A-B"], ["1A"], ["A=B"], ["A B"]])(
    "the name %j is refused in words that do not tell the value",
    async (name) => {
      const started = run({ command: "true", secrets: { [name]: "the-value" } });

      await expect(started).rejects.toThrow("cannot be given to a command");
      await expect(started).rejects.not.toThrow("the-value");
    },
  );
}

/** Of a process that is gone meanwhile, or is another's: nothing. */
function textOf(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}
