/** Hostile programs in bubblewrap sandboxes: none of them gets out. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe } from "vitest";
import { createBubblewrapProvider } from "../../sandbox/bubblewrap.ts";
import { detectBubblewrap } from "../../sandbox/bubblewrap-detect.ts";
import { describeHostile } from "./hostile-suite.ts";

const found = await detectBubblewrap();
const root = mkdtempSync(path.join(os.tmpdir(), "perdure-confined-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe.skipIf(!found.works)(found.works ? "bubblewrap" : `bubblewrap (skipped: ${found.reason})`, () => {
  describeHostile("bubblewrap", () => ({ provider: createBubblewrapProvider({ root }), root }));
});
