/** What a person sees of a session: everything that matters, bounded, and nothing that a terminal would act on. */
import { afterEach, expect, test, vi } from "vitest";
import { LiveView } from "../../cli/live-view.ts";
import { Screen } from "../../cli/screen.ts";
import { createStyle, wantsColors } from "../../cli/style.ts";
import { safeJson, safeLine, safeText } from "../../cli/terminal-text.ts";
import type { SessionEvent } from "../../contract/events.ts";
import { LIMITS } from "../../contract/limits.ts";
import { aTurn } from "../support/fake-api.ts";

const IDS = { messageId: "m1", turnId: "turn_1" };
const STEP = { turnId: "turn_1", step: 1 };
const CALL = { ...STEP, callId: "call_1" };
const USAGE = { inputTokens: 5, outputTokens: 1, cachedTokens: 0, reasoningTokens: 0 };
const EVIL = "\u001b]0;owned\u0007\u001b[2J\u009b31mred\u202Egnp.exe";

afterEach(() => {
  vi.useRealTimers();
});

test("a turn is its message, its text and how it ended", () => {
  const { text } = shown(aTurn(IDS, "hello back"));

  expect(text).toBe("› hello\n\nhello back\n\n✓ completed · 1 step · 1,200 tokens in, 30 out · 5 ms\n");
});

test("a tool is its arguments in one line, its output indented, and how it ended", () => {
  const { text } = shown([
    { type: "tool.started", ...CALL, name: "bash", arguments: { command: "npm test\nls", cwd: "web" } },
    { type: "tool.output", ...CALL, stream: "stdout", text: "one\ntw" },
    { type: "tool.output", ...CALL, stream: "stdout", text: "o\n" },
    { type: "tool.output", ...CALL, stream: "stderr", text: "without its end" },
    { type: "tool.completed", ...CALL, name: "bash", outcome: "error", result: "one\n[exit code 7]", durationMs: 1234 },
  ]);

  expect(text.trimStart()).toBe(
    '● bash  npm test ⏎ ls  cwd="web"\n  │ one\n  │ two\n  │ without its end\n  ✗ error · exit code 7 · 1.2 s\n',
  );
});

test("a tool without live output is told by its result", () => {
  const { text } = shown([
    { type: "tool.started", ...CALL, name: "read_file", arguments: { path: "a.txt" } },
    { type: "tool.completed", ...CALL, name: "read_file", outcome: "ok", result: "1  hello", durationMs: 3 },
  ]);

  expect(text.trimStart()).toBe("● read_file  a.txt\n  │ 1  hello\n  ✓ 3 ms\n");
});

test("output is bounded in lines and in their length, and what is left out is counted", () => {
  const lines = Array.from({ length: 1_000 }, () => `${"x".repeat(1_000)}\n`).join("");
  const { text } = shown([
    { type: "tool.started", ...CALL, name: "bash", arguments: { command: "yes" } },
    { type: "tool.output", ...CALL, stream: "stdout", text: lines },
    { type: "tool.output", ...CALL, stream: "stdout", text: "y".repeat(1_000_000) },
    { type: "tool.completed", ...CALL, name: "bash", outcome: "ok", result: "x", durationMs: 3 },
  ]);

  expect(text.split("\n").filter((line) => line.includes("│"))).toHaveLength(LIMITS.shownLines);
  expect(text).toContain("981 more lines");
  expect(text.length).toBeLessThan(LIMITS.shownLines * (LIMITS.shownLineCharacters + 10) + 200);
});

test("the output of two tools at once says whose it is", () => {
  const other = { ...STEP, callId: "call_2" };
  const { text } = shown([
    { type: "tool.started", ...CALL, name: "bash", arguments: { command: "one" } },
    { type: "tool.started", ...other, name: "bash", arguments: { command: "two" } },
    { type: "tool.output", ...CALL, stream: "stdout", text: "1\n" },
    { type: "tool.completed", ...other, name: "bash", outcome: "ok", result: "2", durationMs: 1 },
    { type: "tool.completed", ...CALL, name: "bash", outcome: "ok", result: "1", durationMs: 1 },
  ]);

  expect(text.trimStart()).toBe(
    "● bash  one\n● bash  two\n  ├ bash one\n  │ 1\n  ├ bash two\n  │ 2\n  ✓ 1 ms\n  ✓ bash one · 1 ms\n",
  );
});

test("a step that was lost is said to begin again", () => {
  const { text } = shown([
    { type: "block.started", ...STEP, index: 0, block: { type: "text" } },
    { type: "block.delta", ...STEP, index: 0, text: "half of" },
    { type: "step.restarted", ...STEP, attempt: 2 },
    { type: "block.started", ...STEP, index: 0, block: { type: "text" } },
    { type: "block.delta", ...STEP, index: 0, text: "whole" },
  ]);

  expect(text.trimStart()).toBe("half of\n↻ the attempt was lost; step 1 again (attempt 2)\n\nwhole");
});

test("a step that is tried again after a failure is not called lost", () => {
  const { text } = shown([
    { type: "error", ...STEP, code: "NETWORK", message: "cut", retryable: true, retryInMs: 500 },
    { type: "step.restarted", ...STEP, attempt: 2 },
  ]);

  expect(text).toBe("! NETWORK: cut · again in 500 ms\n↻ step 1 again (attempt 2)\n");
});

test("a reader that comes after a block's beginning still sees its text, once", () => {
  const block = { type: "text", text: "the whole text" };

  expect(shown([{ type: "block.completed", ...STEP, index: 0, block }]).text.trimStart()).toBe("the whole text\n");
  expect(shown([{ type: "block.delta", ...STEP, index: 0, text: "the end" }]).text.trimStart()).toBe("the end");
});

test.each<[string, object, string]>([
  [
    "an artifact",
    {
      type: "artifact.uploaded",
      turnId: "turn_1",
      artifactId: "art_1",
      path: "outputs/a.md",
      bytes: 2_100,
      sha256: "0",
      contentType: "text/markdown",
    },
    "↑ outputs/a.md (2.1 kB, text/markdown, art_1)",
  ],
  [
    "an error that is tried again",
    { type: "error", code: "RATE_LIMIT", message: "slow down", retryable: true, retryInMs: 3_000 },
    "! RATE_LIMIT: slow down · again in 3.0 s",
  ],
  [
    "a failed turn",
    {
      type: "turn.failed",
      turnId: "turn_1",
      usage: USAGE,
      steps: 2,
      durationMs: 70_000,
      code: "AUTH_INVALID",
      message: "no",
      retryable: false,
    },
    "✗ failed: AUTH_INVALID: no · 2 steps · 5 tokens in, 1 out · 1 min 10 s",
  ],
  [
    "an interrupted turn",
    { type: "turn.interrupted", turnId: "turn_1", usage: USAGE, steps: 1, durationMs: 1, reason: "replaced" },
    "■ interrupted (replaced) · 1 step · 5 tokens in, 1 out · 1 ms",
  ],
  [
    "a refused message",
    { type: "message.refused", messageId: "m1", message: "closing" },
    "✗ the message was refused: closing",
  ],
  [
    "a lost sandbox",
    { type: "sandbox.lost", sandboxId: "sbx_1", provider: "local", generation: 1, message: "gone" },
    "! the sandbox is lost: gone",
  ],
])("%s is one line", (_what, event, line) => {
  expect(shown([event]).text.trim()).toBe(line);
});

test("nothing that a model, a tool or a person writes reaches the terminal as a command", () => {
  const { text } = shown([
    { type: "message.received", messageId: "m1", turnId: "turn_1", mode: "queue", content: EVIL },
    { type: "block.started", ...STEP, index: 0, block: { type: "text" } },
    { type: "block.delta", ...STEP, index: 0, text: EVIL },
    { type: "block.completed", ...STEP, index: 1, block: { type: "thinking", text: EVIL } },
    { type: "block.started", ...STEP, index: 2, block: { type: "tool_call", name: EVIL } },
    { type: "tool.started", ...CALL, name: EVIL, arguments: { command: EVIL, [EVIL]: EVIL } },
    { type: "tool.started", ...CALL, name: "bash", arguments: EVIL },
    { type: "tool.output", ...CALL, stream: "stdout", text: `${EVIL}\n` },
    { type: "tool.completed", ...CALL, name: EVIL, outcome: "error", result: `${EVIL}\n[${EVIL}]`, durationMs: 1 },
    { type: "error", code: "NETWORK", message: EVIL, retryable: true },
    {
      type: "artifact.uploaded",
      turnId: "turn_1",
      artifactId: "art_1",
      path: EVIL,
      bytes: 1,
      sha256: "0",
      contentType: EVIL,
    },
    {
      type: "turn.failed",
      turnId: "turn_1",
      usage: USAGE,
      steps: 1,
      durationMs: 1,
      code: "NETWORK",
      message: EVIL,
      retryable: true,
    },
  ]);

  expect(text).toContain("␛[2J");
  expect([...text].filter((char) => /[[\p{Cc}\p{Bidi_Control}]--\n]/v.test(char))).toEqual([]);
});

test("what is safe stays as it is", () => {
  expect(safeText("tabs\tand\nlines, ümlauts, 漢字, 👩‍👩‍👧 and \u00a0 spaces")).toBe(
    "tabs\tand\nlines, ümlauts, 漢字, 👩‍👩‍👧 and \u00a0 spaces",
  );
  expect(safeText("a\r\nb\rc")).toBe("a\nb\nc");
  expect(safeLine("  two  words\tand more", 14)).toBe("  two  words …");
});

test("a line of JSON keeps its value and loses the characters that a terminal acts on", () => {
  const value = { text: EVIL, more: "\u007f\u2028" };
  const line = safeJson(JSON.stringify(value));

  expect(JSON.parse(line)).toEqual(value);
  expect(line).not.toMatch(/[\p{Cc}\u2028]/v);
});

test.each<[boolean, NodeJS.ProcessEnv, boolean]>([
  [true, {}, true],
  [false, {}, false],
  [true, { NO_COLOR: "1" }, false],
  [true, { NO_COLOR: "" }, true],
  [false, { FORCE_COLOR: "1" }, true],
  [true, { FORCE_COLOR: "0" }, false],
  [true, { TERM: "dumb" }, false],
])("a terminal (%s) with %j has colours: %s", (isTerminal, env, expected) => {
  expect(wantsColors(isTerminal, env)).toBe(expected);
});

test("thinking is dimmed where there are colours", () => {
  const { text } = shown(
    [{ type: "block.completed", ...STEP, index: 0, block: { type: "thinking", text: "hm" } }],
    true,
  );

  expect(text).toContain("\u001b[2m\u001b[3mhm");
});

test("the waiting line is shown at the start of a line only, and is gone before anything is written", () => {
  vi.useFakeTimers();
  const written: string[] = [];
  const terminal = { isTTY: true, write: (text: string) => written.push(text) };
  const passed = (ms: number): string => {
    written.length = 0;
    vi.advanceTimersByTime(ms);
    return written.join("");
  };
  using screen = new Screen({ stdout: terminal, stderr: terminal, style: createStyle(false) });

  screen.wait({ text: "the model thinks", since: Date.now() });
  expect(passed(2_000)).toMatch(/the model thinks 2\.0 s$/);

  written.length = 0;
  screen.text("a line that has begun");
  expect(written).toEqual(["\r\u001b[2K", "a line that has begun"]);
  expect(passed(2_000)).toBe("");

  screen.text(" and ends\n");
  expect(passed(2_000)).toMatch(/the model thinks 6\.0 s$/);

  screen.wait({ text: "trying again", until: Date.now() + 3_000 });
  expect(passed(1_000)).toMatch(/trying again in 2\.0 s$/);
});

test("without a terminal there is no waiting line", () => {
  const written: string[] = [];
  const output = { write: (text: string) => written.push(text) };
  using screen = new Screen({ stdout: output, stderr: output, style: createStyle(false) });
  screen.wait({ text: "the model thinks", since: 0 });
  screen.line("a line");

  expect(written.join("")).toBe("a line\n");
});

/** What the events look like off a terminal. */
function shown(facts: readonly object[], hasColors = false): { readonly text: string } {
  const written: string[] = [];
  const stdout = { write: (text: string) => written.push(text) };
  const screen = new Screen({ stdout, stderr: { write: () => true }, style: createStyle(hasColors) });
  const view = new LiveView(screen);
  for (const [i, fact] of facts.entries()) view.show({ seq: i + 1, at: Date.now(), ...fact } as SessionEvent);
  return { text: written.join("") };
}
