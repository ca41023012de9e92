/** Sandboxes over a remote shell: the conformance suite, over plain processes of this host in place of a remote machine. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { createProcessProvider } from "../support/process-channel.ts";
import { describeSandboxProvider } from "./conformance.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "perdure-remote-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describeSandboxProvider("over a remote shell", () => ({
  provider: createProcessProvider(root),
  elsewhere: { provider: "processes", root },
}));
