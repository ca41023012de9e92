/** What is said of a workspace that cannot be kept: at once, for good, and never of one that is only lost. */
import { expect, test } from "vitest";
import { openSandbox } from "../../activities/session-sandbox.ts";
import { keepWorkspace } from "../../activities/workspace-keeping.ts";
import { type Sandbox, SandboxError } from "../../sandbox/provider.ts";
import { currentSandbox } from "../../store/sandboxes.ts";
import { logOf } from "../store/store-builder.ts";
import { anActivityWorld, anAttempt } from "./activity-builder.ts";

async function kept(kind: SandboxError["kind"]) {
  await using world = await anActivityWorld();
  const { sessionId, deps } = world;
  await using sandbox = await openSandbox(deps, sessionId);
  const record = (await currentSandbox(world.database, sessionId)) ?? expect.fail("no sandbox");
  let scans = 0;
  const scan = (): Promise<never> => {
    scans++;
    return Promise.reject(new SandboxError(kind, "it said no"));
  };
  const refusing = new Proxy(sandbox, {
    get: (from, name) => (name === "scan" ? scan : Reflect.get(from, name, from)),
  }) as Sandbox;
  const keep = () => keepWorkspace(deps, { sessionId, sandbox: refusing, record, attempt: 1 });
  const answer = await anAttempt()
    .run(keep)
    .catch((error: unknown) => error);
  const told = (await logOf(world.database, sessionId)).filter(({ type }) => type === "workspace.unkept");
  return { answer, told, scans };
}

test.each(["failed", "too_large"] as const)("%s is final and told at the first try", async (kind) => {
  const { answer, told, scans } = await kept(kind);

  expect(answer).toBe(false);
  expect(told).toEqual([expect.objectContaining({ reason: kind, message: "it said no" })]);
  expect(scans).toBe(1);
});

test("a sandbox that is lost is not said to be unkept: another takes its place", async () => {
  const { answer, told } = await kept("lost");

  expect(answer).toMatchObject({ kind: "lost" });
  expect(told).toEqual([]);
});
