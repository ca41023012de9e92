/** Sandboxes over a remote shell: the conformance suite over plain processes of this host, where nothing better has it run. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { whichEngine } from "../support/docker-engine.ts";
import { whyNoStandIn } from "../support/docker-stand-in-container.ts";
import { createProcessProvider } from "../support/process-channel.ts";
import { describeSandboxProvider } from "./conformance.ts";

const isWanted = process.env["PERDURE_TEST_REMOTE"] === "1";

if (!isWanted && (typeof (await whichEngine()) === "string" || whyNoStandIn() === undefined)) {
  test.skip("the conformance suite over plain processes: docker's tests run it (PERDURE_TEST_REMOTE=1 runs it here)", () =>
    undefined);
} else {
  let root: string;
  beforeAll(() => {
    root = mkdtempSync(path.join(os.tmpdir(), "perdure-remote-"));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  describeSandboxProvider("over a remote shell", () => ({
    provider: createProcessProvider(root),
    elsewhere: { provider: "processes", root },
  }));
}
