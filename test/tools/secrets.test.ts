/** Tools with secrets, over real commands and files: who is given one, and that no output, result, cut or error tells it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { createRedactor } from "../../tools/redactor.ts";
import type { CallSecrets, ToolContext } from "../../tools/tool.ts";
import { eventually } from "../sandbox/commands.ts";
import { openPluginWorkshop } from "./plugin-workshop.ts";
import { openWorkshop, publishedText, type Workshop } from "./workshop.ts";

const SECRET = "s3cr3t-value-0f-the-worker-with-some-length";
let shop: Workshop;
beforeAll(async () => {
  shop = await openWorkshop();
});
afterAll(() => shop[Symbol.asyncDispose]());

const secrets: CallSecrets = {
  redactor: createRedactor([SECRET]),
  givenTo: (command) =>
    command.includes("TOKEN") ? { variables: { TOKEN: SECRET }, missing: ["OTHER"] } : { variables: {}, missing: [] },
};

async function call(name: string, args: Readonly<Record<string, unknown>>) {
  const made = shop.newCall();
  const result = await made.attempt(name, args, { secrets });
  return { ...result, published: publishedText(made), errors: publishedText(made, "stderr") };
}

describe("bash", () => {
  test("gives a command its secret and shows none of it, on both streams", async () => {
    const { text, published, errors } = await call("bash", {
      command: 'echo "out $TOKEN"; echo "err $TOKEN" >&2; printf %s "$TOKEN" | wc -c',
    });

    expect(published).toBe(`out [REDACTED]\n${SECRET.length}\n`);
    expect(errors).toBe("err [REDACTED]\n");
    expect(text).toBe(
      `out [REDACTED]\n${SECRET.length}\n[stderr]\nerr [REDACTED]\n[the secret OTHER has no value on this worker: the command ran without]`,
    );
  });

  test("shows none that comes letter by letter, to an attempt that goes on where another was lost", async () => {
    const made = shop.newCall();
    const lost = new AbortController();
    const command = `printf 'now '; printf '%s\\n' "$TOKEN" | fold -w1 | while read -r one; do printf %s "$one"; sleep 0.01; [ "$one" != w ] || until [ -e go-on ]; do sleep 0.02; done; done; echo " end"`;
    const first = made.attempt("bash", { command }, { secrets, signal: lost.signal, isStopped: () => false });
    first.catch(() => undefined);
    await eventually(() => publishedText(made) === "now ", "all but the secret is published");
    lost.abort(new Error("the worker goes down"));
    await expect(first).rejects.toThrow("goes down");
    await shop.sandbox.writeFile("go-on", new Uint8Array());

    const result = await made.attempt("bash", { command }, { secrets });

    expect(publishedText(made)).toBe("now [REDACTED] end\n");
    expect(result.text).toContain("now [REDACTED] end");
  });

  test("shows none at the cuts of a long output, nor where the events end", async () => {
    const filler = "x".repeat(1_000);
    for (const shift of [0, 7, 20, 33]) {
      const line = `${filler}$TOKEN`;
      const { text, published } = await call("bash", {
        command: `printf '%s' '${"y".repeat(shift)}'; for i in $(seq 400); do printf '%s' "${line}"; done`,
      });
      for (const shown of [text, published]) {
        expect(shown).toContain("[REDACTED]");
        for (let at = 0; at + 8 <= SECRET.length; at++) expect(shown).not.toContain(SECRET.slice(at, at + 8));
      }
    }
  });
});

describe("a file with a secret", () => {
  beforeAll(async () => {
    const long = `${"z".repeat(LIMITS.lineCharactersMax - 20)}${SECRET} and more`;
    await shop.sandbox.writeFile("config", Buffer.from(`token=${SECRET}\nplain\n${long}\n`));
    await shop.sandbox.writeFile("wide", Buffer.from(`match ${"z".repeat(280)}${SECRET}\n`));
  });

  test.each([
    ["read_file", { path: "config" }],
    ["grep", { pattern: "match|token", path: "." }],
    ["edit_file", { path: "config", oldText: `token=${"q".repeat(20)}`, newText: "x" }],
    ["edit_file", { path: "wide", oldText: `match ${"z".repeat(270)}`, newText: "x" }],
  ])("tells none of its beginning where %s cuts a line", async (name, args) => {
    const { text } = await call(name, args);

    // What is whole is taken out of every result, by whoever runs the call.
    expect(secrets.redactor.text(text)).not.toMatch(/s3cr3t/);
  });
});

test("a worker's own tool gets what its commands print without secrets, and gives them to those that it is for", async () => {
  await using given = await openPluginWorkshop(async (_args: unknown, { sandbox }) => {
    const with_ = await sandbox.exec('echo "[$TOKEN]"; echo "$TOKEN" >&2');
    const without = await sandbox.exec(`echo "[$(env | grep -c s3cr3t)]"`);
    return [with_.stdout, with_.stderr, without.stdout];
  });

  const result = await given.newCall().attempt("work", {}, { secrets } satisfies Partial<ToolContext>);

  expect(JSON.parse(result.text)).toEqual(["[[REDACTED]]\n", "[REDACTED]\n", "[0]\n"]);
});
