/** Interactive shells in sandboxes of this host: what is typed, its size, its end, and what it may not leave behind. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import type { SandboxProvider, Terminal } from "../../sandbox/provider.ts";
import { bytes, eventually, processesWith } from "./commands.ts";

const found = await detectBubblewrap();
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-terminal-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const PROVIDERS: readonly (readonly [name: string, isThere: boolean, make: () => SandboxProvider])[] = [
  ["local", true, () => createLocalProvider({ root })],
  [
    found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`,
    found.works,
    () => createBubblewrapProvider({ root }),
  ],
];

for (const [name, isThere, make] of PROVIDERS) {
  describe.skipIf(!isThere)(`a terminal of ${name}`, { timeout: 30_000 }, () => {
    const provider = make();
    let count = 0;
    const open = async () => {
      const id: SandboxId = `sbx_terminal_${provider.name}_${++count}`;
      const sandbox = await provider.open(id);
      const terminal = await sandbox.openTerminal?.({ columns: 91, rows: 23, environment: { GREETING: "it's me" } });
      if (terminal === undefined) throw new Error("expected a terminal");
      return { sandbox, terminal, screen: readAll(terminal) };
    };

    test("answers, knows its size and its variables, and ends with its shell", async () => {
      const { sandbox, terminal, screen } = await open();
      terminal.write(bytes('stty size; pwd; echo "say $GREETING"; tty\n'));
      await eventually(() => /23 91/.test(screen.text) && /say it's me/.test(screen.text), "it answers");
      terminal.resize(120, 40);
      terminal.write(bytes("stty size\n"));
      await eventually(() => /40 120/.test(screen.text), "it has its new size");
      expect(screen.text).toContain(sandbox.workspace);

      terminal.write(bytes("exit\n"));

      await screen.ended;
      await terminal.close();
      await provider.remove(sandbox.id);
    });

    test("that is closed ends what it has started, also in the background", async () => {
      const { sandbox, terminal, screen } = await open();
      const mark = `4${Math.floor(Math.random() * 1e9)}`;
      terminal.write(bytes(`(trap '' HUP TERM; sleep ${mark}) & sleep ${mark}\n`));
      await eventually(() => processesWith(mark).length >= 2, "both run");

      await terminal.close();

      await screen.ended;
      await eventually(() => processesWith(`sleep\0${mark}`).length === 0, "both are gone");
      terminal.write(bytes("echo nobody\n"));
      terminal.resize(1, 1);
      await terminal.close();
      await provider.remove(sandbox.id);
    });

    test("ends with its sandbox", async () => {
      const { sandbox, terminal, screen } = await open();
      terminal.write(bytes("echo ready\n"));
      await eventually(() => /ready\r\n/.test(screen.text), "it is ready");

      await provider.remove(sandbox.id);

      await screen.ended;
      await terminal.close();
      await expect(async () => sandbox.openTerminal?.({ columns: 80, rows: 24 })).rejects.toMatchObject({
        kind: "lost",
      });
    });
  });
}

function readAll(terminal: Terminal): { text: string; readonly ended: Promise<void> } {
  const screen = { text: "", ended: Promise.resolve() };
  const read = async (): Promise<void> => {
    for await (const chunk of terminal.output) screen.text += new TextDecoder().decode(chunk);
  };
  screen.ended = read();
  return screen;
}
