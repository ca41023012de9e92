/** What every sandbox provider must do. Each provider's test file calls this once. */
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import type { Sandbox, SandboxProvider } from "../../sandbox/provider.ts";
import { bytes, newCallId, run, text } from "./commands.ts";
import { describeEnds } from "./conformance-ends.ts";
import { describeFiles } from "./conformance-files.ts";
import { describeOutput } from "./conformance-output.ts";
import { describeStarts } from "./conformance-starts.ts";
import type { ProviderElsewhere } from "./other-process.ts";

export interface ProviderUnderTest {
  readonly provider: SandboxProvider;
  /** How another process makes the same. */
  readonly elsewhere: ProviderElsewhere;
}

/** What the parts of the suite work with; a fresh sandbox for each test. */
export interface Given extends ProviderUnderTest {
  readonly sandbox: Sandbox;
}

export function describeSandboxProvider(name: string, makeProvider: () => ProviderUnderTest): void {
  describe(`sandbox provider ${name}`, () => {
    let made: ProviderUnderTest;
    let sandbox: Sandbox;
    let id: SandboxId;
    const given = (): Given => ({ ...made, sandbox });

    beforeEach(async () => {
      made = makeProvider();
      id = `sbx_${randomUUID()}`;
      sandbox = await made.provider.open(id);
    });
    afterEach(() => made.provider.remove(id));

    describeLife(given);
    describeStarts(given);
    describeEnds(given);
    describeOutput(given);
    describeFiles(given);
  });
}

function describeLife(given: () => Given): void {
  test("opening twice gives the same sandbox with its files", async () => {
    const { provider, sandbox } = given();
    await sandbox.writeFile("note.txt", bytes("kept"));

    const again = await provider.open(sandbox.id);

    expect(text(await again.readFile("note.txt"))).toBe("kept");
    expect(again.workspace).toBe(sandbox.workspace);
  });

  test("opening at once many times gives one sandbox", async () => {
    const { provider } = given();
    const id: SandboxId = `sbx_${randomUUID()}`;

    const all = await Promise.all(Array.from({ length: 10 }, () => provider.open(id)));

    await all[0]?.writeFile("a", bytes("1"));
    expect(text((await all[9]?.readFile("a")) ?? bytes(""))).toBe("1");
    await provider.remove(id);
  });

  test("a sandbox is found while it is there, and finding makes none", async () => {
    const { provider, sandbox } = given();

    expect((await provider.find(sandbox.id))?.workspace).toBe(sandbox.workspace);
    expect(await provider.find("sbx_never_opened")).toBeUndefined();
    expect(await provider.find("sbx_never_opened")).toBeUndefined();
  });

  test("removing a missing sandbox is not an error", async () => {
    await given().provider.remove("sbx_never_opened");
  });

  test("an id that is a path is refused", async () => {
    const hostile = "sbx_../../etc" as SandboxId;

    await expect(given().provider.open(hostile)).rejects.toMatchObject({ kind: "denied" });
    await expect(given().provider.remove(hostile)).rejects.toMatchObject({ kind: "denied" });
  });

  test("after its removal every use of a sandbox says that it is lost, and brings nothing back", async () => {
    const { provider, sandbox } = given();
    const { callId } = await run(sandbox, "echo before");
    await provider.remove(sandbox.id);

    const start = { callId: newCallId(), command: "echo x", timeoutMs: 1_000 };
    await expect(sandbox.start(start)).rejects.toMatchObject({ name: "SandboxError", kind: "lost" });
    await expect(sandbox.readFile("a")).rejects.toMatchObject({ kind: "lost" });
    await expect(sandbox.writeFile("a", bytes("1"))).rejects.toMatchObject({ kind: "lost" });
    await expect(sandbox.stat(".")).rejects.toMatchObject({ kind: "lost" });
    await expect(sandbox.listFiles(".", { depth: 1, max: 1 })).rejects.toMatchObject({ kind: "lost" });
    const events = sandbox.follow(callId, { stdout: 0, stderr: 0 }, AbortSignal.timeout(5_000));
    await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject({ kind: "lost" });
    await sandbox.kill(callId);
    expect(await provider.find(sandbox.id)).toBeUndefined();
  });
}
