/** The sandbox of a plugin's tool: files below the workspace, and commands started once for their place in the call. */
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { PluginContext, PluginSandbox } from "../../tools/plugin.ts";
import { eventually } from "../sandbox/commands.ts";
import { openPluginWorkshop } from "./plugin-workshop.ts";

/** A tool that does this with its sandbox. */
const using =
  (work: (sandbox: PluginSandbox, context: PluginContext) => unknown) =>
  (_args: unknown, context: PluginContext): unknown =>
    work(context.sandbox, context);

test("files are written, read and listed below the workspace", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox) => {
      await sandbox.writeFile("a/text", "ü");
      await sandbox.writeFile("a/bytes", new Uint8Array([0, 255]));
      const text = Buffer.from(await sandbox.readFile("a/text")).toString();
      const all = await sandbox.listFiles(".", { depth: 2 });
      return { text, own: (await sandbox.listFiles()).map(({ path }) => path), all: all.map(({ path }) => path) };
    }),
  );

  expect(JSON.parse((await given.call()).text)).toEqual({ text: "ü", own: ["a"], all: ["a", "a/bytes", "a/text"] });
});

test.each([
  ["a path that leads out", (sandbox: PluginSandbox) => sandbox.readFile("../outside"), /^work failed: .*outside/],
  ["a file that is not there", (sandbox: PluginSandbox) => sandbox.readFile("missing"), /^work failed: .*missing/],
  [
    "a folder to run in that is outside",
    (sandbox: PluginSandbox) => sandbox.exec("ls", { cwd: "/" }),
    /^work failed: /,
  ],
  [
    "no time at all",
    (sandbox: PluginSandbox) => sandbox.exec("ls", { timeoutMs: 0 }),
    /expected a timeoutMs from 1 to/,
  ],
  ["a time that is none", (sandbox: PluginSandbox) => sandbox.exec("ls", { timeoutMs: Number.NaN }), /got NaN/],
])("%s is the tool's error", async (_, work, words) => {
  await using given = await openPluginWorkshop(using(work));

  expect(await given.call()).toEqual({ outcome: "error", text: expect.stringMatching(words) });
});

test("a command tells its end, its output and its errors, with the agent's variables, in its folder", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox) => {
      await sandbox.writeFile("deep/x", "");
      return await sandbox.exec('ls; echo "$GREETING" >&2; exit 3', { cwd: "deep" });
    }),
  );

  const { text } = await given.call({ environment: { GREETING: "hello" } });

  expect(JSON.parse(text)).toEqual({ exitCode: 3, ended: "exited", stdout: "x\n", stderr: "hello\n" });
});

test("a command that takes too long, or is killed, has no exit code", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox) => [await sandbox.exec("sleep 30", { timeoutMs: 50 }), await sandbox.exec("kill -9 $$")]),
  );

  expect(JSON.parse((await given.call()).text)).toMatchObject([
    { exitCode: null, ended: "timed_out" },
    { exitCode: null, ended: "signalled" },
  ]);
});

test("of a long output the beginning is kept", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox) => (await sandbox.exec("yes ü | head -c 3000000")).stdout.length),
  );

  const { text } = await given.call();

  expect(Number(text)).toBeGreaterThan(LIMITS.toolOutputBytesMax / 2);
  expect(Number(text)).toBeLessThanOrEqual(LIMITS.toolOutputBytesMax);
});

test("an attempt after a lost one gets what its commands printed, and starts none of them again", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox, { attempt }) => {
      const first = await sandbox.exec("echo x >> effects; echo first $RANDOM$RANDOM");
      const both = await Promise.all(["a", "b"].map((name) => sandbox.exec(`echo x >> effects; echo ${name}`)));
      const more = attempt > 1 ? [await sandbox.exec("echo x >> effects; echo more")] : [];
      return [first, ...both, ...more].map(({ stdout }) => stdout.trim());
    }),
  );
  const call = given.newCall();

  const before: string[] = JSON.parse((await call.attempt("work", {})).text);
  const after: string[] = JSON.parse((await call.attempt("work", {})).text);

  expect(after).toEqual([...before, "more"]);
  expect(await given.workshop.sh("wc -l < effects")).toMatch(/^\s*4\n/);
});

test("the same command twice in one call runs twice, and so does that of another call", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox) => {
      await sandbox.exec("echo x >> effects");
      await sandbox.exec("echo x >> effects");
    }),
  );

  await given.call();
  await given.call();

  expect(await given.workshop.sh("wc -l < effects")).toMatch(/^\s*4\n/);
});

test("another command at the same place is another one: nobody gets an answer to what was not asked", async () => {
  await using given = await openPluginWorkshop(
    using(async (sandbox, { attempt }) => (await sandbox.exec(`echo attempt ${attempt}`)).stdout),
  );
  const call = given.newCall();

  await call.attempt("work", {});

  expect(await call.attempt("work", {})).toMatchObject({ text: "attempt 2\n" });
});

test("when the time is up its command is ended with it", async () => {
  await using given = await openPluginWorkshop(
    using((sandbox) => sandbox.exec("echo $$ > pid; while :; do sleep 0.02; done; touch after")),
    { timeoutMs: 400 },
  );

  expect(await given.call()).toMatchObject({ outcome: "error", text: expect.stringContaining("timed out") });
  expect(await given.workshop.sh("kill -0 $(cat pid) 2>/dev/null && echo lives; ls")).toBe("pid\n");
});

test("when the turn is stopped, commands are ended, those of a lost attempt among them", async () => {
  const stop = new AbortController();
  await using given = await openPluginWorkshop(
    using(async (sandbox, { attempt, signal }) => {
      if (attempt === 1) return await sandbox.exec("echo $$ > pid; while :; do sleep 0.02; done");
      return await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    }),
  );
  const call = given.newCall();
  const lost = new AbortController();

  const first = call.attempt("work", {}, { signal: lost.signal, isStopped: () => false });
  await eventually(async () => (await given.workshop.sandbox.stat("pid"))?.bytes !== undefined, "the command runs");
  lost.abort(new Error("this worker goes down"));
  await expect(first).rejects.toThrow("this worker goes down");
  expect(await given.workshop.sh("kill -0 $(cat pid) && echo lives")).toBe("lives\n");
  const second = call.attempt("work", {}, { signal: stop.signal });
  stop.abort(new Error("stopped"));

  expect(await second).toMatchObject({ outcome: "interrupted" });
  expect(await given.workshop.sh("kill -0 $(cat pid) 2>/dev/null || echo gone")).toBe("gone\n");
});

test("a worker that goes down leaves its command running, and the next attempt follows it to its end", async () => {
  await using given = await openPluginWorkshop(
    using(
      async (sandbox) =>
        (await sandbox.exec("echo x >> effects; while [ ! -e go-on ]; do sleep 0.02; done; echo done")).stdout,
    ),
  );
  const call = given.newCall();
  const lost = new AbortController();

  const first = call.attempt("work", {}, { signal: lost.signal, isStopped: () => false });
  await eventually(async () => (await given.workshop.sandbox.stat("effects")) !== undefined, "the command runs");
  lost.abort(new Error("this worker goes down"));
  await expect(first).rejects.toThrow("this worker goes down");
  const second = call.attempt("work", {});
  await given.workshop.sandbox.writeFile("go-on", new Uint8Array());

  expect(await second).toEqual({ outcome: "ok", text: "done\n" });
  expect(await given.workshop.sh("wc -l < effects")).toMatch(/^\s*1\n/);
});
