/** `perdure terminal`: keys and output both ways, leaving it open, and every way in which it ends in words. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { useTerminal } from "../../cli/remote-terminal.ts";
import type { SessionId, TerminalId } from "../../contract/ids.ts";
import {
  closeTerminal,
  findTerminal,
  inputAfter,
  openTerminal,
  takeTerminal,
  writeProgress,
} from "../../store/terminals.ts";
import { ApiWorld } from "../support/api-world.ts";
import { CommandRun } from "../support/command-run.ts";
import { TestTerminal } from "../support/terminal.ts";
import { waitFor } from "../support/world.ts";

let world: ApiWorld;
beforeAll(async () => {
  world = await ApiWorld.start();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

interface Used {
  readonly seen: TestTerminal;
  readonly ended: Promise<number>;
  readonly key: { readonly sessionId: SessionId; readonly terminalId: TerminalId };
  typed(): Promise<string>;
  print(text: string): Promise<void>;
}

/** A terminal in use, whose shell is the test. */
async function used(): Promise<Used> {
  const sessionId = await world.createSession();
  const { database } = world.store;
  const seen = new TestTerminal();
  const ended = useTerminal(seen.io(), { baseUrl: world.url, sessionId, watch: false });
  ended.catch(() => undefined); // Each test awaits it.
  await waitFor("it is asked for", () => world.sessions.terminals.some((one) => one.sessionId === sessionId));
  const key = world.sessions.terminals.find((one) => one.sessionId === sessionId);
  if (!key) throw new Error("it was not asked for");
  await openTerminal(database, key, undefined);
  await waitFor("it is used", async () => (await findTerminal(database, key.terminalId))?.writer !== null);
  let number = 0;
  return {
    seen,
    ended,
    key,
    typed: async () => {
      const frames = await inputAfter(database, key.terminalId, 0);
      return Buffer.concat(frames.map(({ bytes }) => bytes)).toString();
    },
    print: async (text) => {
      const output = [{ number: ++number, bytes: Buffer.from(text) }];
      await writeProgress(database, key.terminalId, { output, keptFrom: 0, inputTaken: 0 });
    },
  };
}

describe("perdure terminal", () => {
  test("sends keys as they are pressed, shows what is printed, and ends with the shell and its reason", async () => {
    const { seen, ended, key, typed, print } = await used();
    seen.type("ls\r\u0003");
    await waitFor("it was typed", async () => (await typed()) === "ls\r\u0003");
    await print("é漢 a file\r\n");
    await waitFor("it is shown", () => seen.screen.includes("é漢 a file"));
    await closeTerminal(world.store.database, key, "the shell has ended");

    expect(await ended).toBe(0);
    expect(seen.stderr).toContain("closed: the shell has ended");
  });

  test("is left by Ctrl-], which is not sent, and the terminal stays open", async () => {
    const { seen, ended, key, typed } = await used();
    seen.type("last\u001dnever");

    expect(await ended).toBe(130);
    expect(await typed()).toBe("last");
    expect((await findTerminal(world.store.database, key.terminalId))?.state).toBe("open");
    expect(seen.stderr).toContain("stays open");
  });

  test("says that somebody else writes now, and what was refused", async () => {
    const { seen, ended, key } = await used();
    await takeTerminal(world.store.database, key.terminalId, { writer: "another", ifFree: false });
    await waitFor("it is said", () => seen.stderr.includes("somebody else is the writer now"));
    seen.type("x");
    await waitFor("it is refused", () => seen.stderr.includes("another is the writer"));
    seen.type("\u001d");
    expect(await ended).toBe(130);
  });

  test("fails in one line when the API refuses it, is not there, or goes away", async () => {
    const nobody = { sessionId: "nobody", watch: false };
    const io = new TestTerminal().io();
    await expect(useTerminal(io, { baseUrl: world.url, ...nobody })).rejects.toThrow(/404 SESSION_NOT_FOUND/);
    await expect(useTerminal(io, { baseUrl: "http://127.0.0.1:9", ...nobody })).rejects.toThrow(
      /no Perdure API answers/,
    );
  });

  test("wants a terminal on both sides, and ids that can be some", async () => {
    await using piped = new CommandRun(["terminal", "some", "--url", world.url]);
    await using wrong = new CommandRun(["terminal", "some", "--terminal", "../x"]);
    const [first, second] = await Promise.all([piped.ended, wrong.ended]);

    expect(first).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("needs a terminal on both sides") });
    expect(second).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("Expected term_") });
  });
});
