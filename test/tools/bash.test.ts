/** The tool bash against real processes: what a model is told, what is published, and what interrupts and lost attempts do. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { Sandbox } from "../../sandbox/provider.ts";
import { eventually } from "../sandbox/commands.ts";
import { openWorkshop, publishedText, type Workshop } from "./workshop.ts";

let shop: Workshop;
beforeAll(async () => {
  shop = await openWorkshop();
});
afterAll(() => shop[Symbol.asyncDispose]());

test("a success is its output and nothing else", async () => {
  expect(await shop.call("bash", { command: "echo one; echo two" })).toEqual({ outcome: "ok", text: "one\ntwo" });
});

test("standard error comes under its name", async () => {
  const { text } = await shop.call("bash", { command: "echo out; echo err >&2" });

  expect(text).toBe("out\n[stderr]\nerr");
});

test("no output is said", async () => {
  expect(await shop.call("bash", { command: "true" })).toEqual({ outcome: "ok", text: "(no output)" });
});

test.each([
  ["an exit code that is not 0", "echo so far; exit 3", "so far\n[exit code 3]"],
  ["a failure without output", "false", "[exit code 1]"],
  ["the signal that ended it", "kill -9 $$", "[ended by the signal SIGKILL]"],
])("%s is an error and said", async (_, command, text) => {
  expect(await shop.call("bash", { command })).toEqual({ outcome: "error", text });
});

test("a timeout is an error with what was printed before", async () => {
  const result = await shop.call("bash", { command: "echo before; sleep 30", timeoutMs: 200 });

  expect(result.outcome).toBe("error");
  expect(result.text).toBe("before\n[timed out after 200 ms; it and what it started were ended]");
});

test("a working folder that is outside or missing is an error in words, and nothing runs", async () => {
  const outside = await shop.call("bash", { command: "touch ran", cwd: "../.." });
  const missing = await shop.call("bash", { command: "touch ran", cwd: "nowhere" });

  expect(outside).toMatchObject({ outcome: "error", text: expect.stringContaining("leads out of the workspace") });
  expect(missing).toMatchObject({ outcome: "error", text: expect.stringContaining("nowhere does not exist") });
  expect(await shop.sandbox.stat("ran")).toBeUndefined();
});

test("output is published while it comes, with offsets that reach its end", async () => {
  const call = shop.newCall();
  const running = call.attempt("bash", {
    command: "echo one; while [ ! -e live ]; do sleep 0.02; done; echo two; echo err >&2",
  });
  await eventually(() => publishedText(call) === "one\n", "the first line is published");

  await shop.sandbox.writeFile("live", new Uint8Array());
  await running;

  expect(publishedText(call)).toBe("one\ntwo\n");
  expect(publishedText(call, "stderr")).toBe("err\n");
  expect(call.outputs.at(-1)?.upTo).toEqual({ stdout: 8, stderr: 4 });
});

test("a character that comes in two reads is published whole, and its half is not counted before", async () => {
  const call = shop.newCall();
  const running = call.attempt("bash", {
    command: "printf 'a\\303'; while [ ! -e half ]; do sleep 0.02; done; printf '\\251b\\342\\202'",
  });
  await eventually(() => publishedText(call) === "a", "the first half is read");
  expect(call.outputs.at(-1)?.upTo).toEqual({ stdout: 1, stderr: 0 });

  await shop.sandbox.writeFile("half", new Uint8Array());
  const result = await running;

  expect(publishedText(call)).toBe("aéb\ufffd");
  expect(call.outputs.at(-1)?.upTo).toEqual({ stdout: 6, stderr: 0 });
  expect(result.text).toBe("aéb\ufffd");
});

test("a second attempt runs nothing again, publishes only what is new, and gives the whole result", async () => {
  const call = shop.newCall();
  const command = "echo x >> effects; echo éins; while [ ! -e second ]; do sleep 0.02; done; echo zwei";
  const lost = new AbortController();
  const first = call.attempt("bash", { command }, { signal: lost.signal, isStopped: () => false });
  await eventually(() => publishedText(call) === "éins\n", "the first line is published");

  lost.abort(new Error("this worker goes down"));
  await expect(first).rejects.toThrow("this worker goes down");
  await shop.sandbox.writeFile("second", new Uint8Array());
  const result = await call.attempt("bash", { command });

  expect(result).toEqual({ outcome: "ok", text: "éins\nzwei" });
  expect(publishedText(call)).toBe("éins\nzwei\n");
  expect(await shop.sh("cat effects")).toBe("x\n");
});

test("an attempt after the end publishes nothing twice and gives the same result", async () => {
  const call = shop.newCall();
  const args = { command: "echo out; echo err >&2; exit 2" };
  const first = await call.attempt("bash", args);
  const published = call.outputs.length;

  const second = await call.attempt("bash", args);

  expect(second).toEqual(first);
  expect(call.outputs).toHaveLength(published);
});

test("an interrupt ends the command and all it started, long before it would end", async () => {
  const call = shop.newCall();
  const interrupt = new AbortController();
  const running = call.attempt("bash", { command: "echo up; sleep 60 & wait" }, { signal: interrupt.signal });
  await eventually(() => publishedText(call) === "up\n", "it runs");

  const at = Date.now();
  interrupt.abort();
  const result = await running;

  expect(Date.now() - at).toBeLessThan(10_000);
  expect(result).toEqual({ outcome: "interrupted", text: "up\n[interrupted: it and what it started were ended]" });
});

test("an interrupt before the start lets nothing run, not even in a later attempt", async () => {
  const call = shop.newCall();
  const args = { command: "touch never-ran" };

  const first = await call.attempt("bash", args, { signal: AbortSignal.abort() });
  const second = await call.attempt("bash", args);

  expect([first.outcome, second.outcome]).toEqual(["interrupted", "interrupted"]);
  expect(await shop.sandbox.stat("never-ran")).toBeUndefined();
});

test("what a command did whose processes were killed from outside is unknown, and said so", async () => {
  const call = shop.newCall();
  const running = call.attempt("bash", { command: "echo up; kill -9 -- -$(ps -o pgid= -p $$ | tr -d ' ')" });

  expect(await running).toMatchObject({ outcome: "unknown", text: expect.stringContaining("check before you run it") });
});

test("a long output keeps its head and its tail, says what is left out and where all of it is", async () => {
  const call = shop.newCall();
  const { text } = await call.attempt("bash", { command: "echo FIRST; seq 1 50000; echo LAST" });

  expect(text).toMatch(/^FIRST\n1\n2\n/);
  expect(text).toMatch(/\n50000\nLAST$/);
  expect(text).toMatch(
    /\[… \d+ of 288905 bytes are left out here; read_file and commands can read the whole of it in .*stdout …\]/,
  );
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
  const spool = shop.sandbox.spoolPath(call.callId, "stdout");
  expect(await shop.call("read_file", { path: spool, offset: 50_000, limit: 1 })).toMatchObject({
    text: expect.stringContaining("49999"),
  });
});

test("a long standard output leaves room for a short standard error, and two long ones share", async () => {
  const short = await shop.call("bash", { command: "seq 1 50000; echo why >&2; exit 1" });
  const both = await shop.call("bash", { command: "seq 1 50000; seq 1 60000 >&2" });

  expect(short.text).toMatch(/50000\n\[stderr\]\nwhy\n\[exit code 1\]$/);
  expect(both.text).toMatch(/\n50000\n\[stderr\]\n1\n2\n/);
  expect(both.text).toMatch(/\n60000$/);
  expect(Buffer.byteLength(both.text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
});

test("only so much of an output is published, one line says so, and a later attempt does not say it again", async () => {
  const call = shop.newCall();
  const args = { command: "yes | head -c 700000; echo END" };
  const first = await call.attempt("bash", args);

  const second = await call.attempt("bash", args);

  const published = publishedText(call);
  expect(Buffer.byteLength(published)).toBeLessThan(LIMITS.outputEventsBytesMax + 1_000);
  expect(published.match(/\[what comes after 262144 bytes of output is in .*\]/g)).toHaveLength(1);
  expect(first.text).toMatch(/y\nEND$/);
  expect(second).toEqual(first);
});

test("of 200 MB a model sees the head and the tail within seconds", async () => {
  const { outcome, text } = await shop.call("bash", {
    command: "echo HEAD; head -c 200000000 /dev/zero | tr '\\0' x; echo TAIL",
  });

  expect(outcome).toBe("ok");
  expect(text).toMatch(/^HEAD\nx+/);
  expect(text).toMatch(/x+TAIL$/);
  expect(text).toMatch(/the first 67108864 and the last 131072 bytes were kept/);
});

test("binary output is bounded, and holds no NUL", async () => {
  const { text } = await shop.call("bash", { command: "head -c 100000 /bin/sh" });

  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(LIMITS.toolResultBytes);
  expect(text).not.toContain("\0");
});

test("a lost sandbox is thrown on, as no model can mend it", async () => {
  const gone: Sandbox = await openWorkshop().then(async (other) => {
    await other[Symbol.asyncDispose]();
    return other.sandbox;
  });

  await expect(shop.newCall().attempt("bash", { command: "true" }, { sandbox: gone })).rejects.toMatchObject({
    name: "SandboxError",
    kind: "lost",
  });
});
