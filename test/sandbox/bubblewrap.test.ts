/** The bubblewrap provider: the conformance suite, and what is its own: namespaces, limits, what is left after a removal. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { describeSandboxProvider } from "./conformance.ts";
import { killsOnHost } from "./host-kills.ts";

const found = await detectBubblewrap();
const reason = found.works ? "" : ` (skipped: ${found.reason})`;

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "perdure-bubblewrap-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe.skipIf(!found.works)(`bubblewrap${reason}`, () => {
  describeSandboxProvider("bubblewrap", () => ({
    provider: createBubblewrapProvider({ root }),
    elsewhere: { provider: "bubblewrap", root },
    ...killsOnHost(() => root),
  }));
});
