/** The scripted backend passes the conformance suite, so that what is tested with it holds for the others. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import {
  createScriptedBackend,
  type JournalLine,
  SCRIPTED,
  type ScriptedBackendOptions,
} from "../support/scripted-backend.ts";
import type { BackendRecipe } from "./backend-process.ts";
import type { BackendUnderTest, SeenCall } from "./backend-under-test.ts";
import { describeBackend } from "./conformance.ts";
import { KEY, PlayedSession, scripted } from "./played-session.ts";

describeBackend("scripted", async () => startScripted());

test("it fails when it does not get back the state that it gave", async () => {
  const backend = createScriptedBackend({ key: KEY });
  const played = new PlayedSession({});
  const run = backend.step.bind(backend);
  await played.turn(run, scripted({ text: "one" }));
  played.say(scripted({ text: "two" }));

  const { state } = played;
  played.state = { text: "", version: "", ...state, meta: { messages: 7 } };
  await expect(played.step(run)).rejects.toThrow('has 1 lines, and its meta is {"messages":7}');

  played.state = state;
  expect((await played.step(run)).state).toMatchObject({ append: expect.any(String), meta: { messages: 3 } });
});

function startScripted(): BackendUnderTest {
  const folder = mkdtempSync(path.join(tmpdir(), "perdure-scripted-"));
  const journal = path.join(folder, "journal");
  const recipe = (options: Partial<ScriptedBackendOptions>): BackendRecipe => ({
    module: new URL("../support/scripted-backend.ts", import.meta.url).href,
    make: createScriptedBackend.name,
    options: { key: KEY, rightKey: KEY, journal, ...options },
  });
  const seen = (): readonly SeenCall[] => seenIn(journal);
  return {
    entry: SCRIPTED,
    wire: "none",
    modelSettings: {},
    keyVariables: ["SCRIPTED_KEY"],
    recipe: recipe({}),
    wrongKey: recipe({ key: "sk-wrong-0123456789abcdef" }),
    noKey: recipe({ key: undefined }),
    nowhere: recipe({ unreachable: true }),
    seen,
    until,
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Not `expect.poll`, which knows no test among those that run at once. */
async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5_000; !condition(); ) {
    if (Date.now() > deadline) throw new Error("the condition never came true");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** The calls that a journal tells of; each is closed by the first line behind it that names its number. */
function seenIn(journal: string): readonly SeenCall[] {
  const calls: {
    call: number;
    key: string;
    conversation: SeenCall["conversation"];
    closedEarlyAt: number | undefined;
  }[] = [];
  for (const text of readText(journal).split("\n").filter(Boolean)) {
    const line = JSON.parse(text) as JournalLine;
    if ("call" in line) calls.push({ ...line, closedEarlyAt: undefined });
    else {
      const closed = calls.findLast(({ call }) => call === line.closedEarly);
      if (closed !== undefined) closed.closedEarlyAt = line.at;
    }
  }
  return calls.map((call) => ({ ...call, body: call.conversation }));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // Nothing was called yet.
  }
}
