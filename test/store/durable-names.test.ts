/** Names that must survive a power cut: what the kernel is asked for, in order, when a state folder and what lies in it is made. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const canTrace = ((): boolean => {
  try {
    execFileSync("strace", ["-f", "-e", "trace=fsync", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

const PROGRAM = `
const [, folder] = process.argv;
const { openStore } = await import(${JSON.stringify(path.resolve("store/store.ts"))});
const { makeToken } = await import(${JSON.stringify(path.resolve("store/api-token.ts"))});
const { openHostIdentity } = await import(${JSON.stringify(path.resolve("workers/host-identity.ts"))});
const store = await openStore(folder + "/new/state");
makeToken(folder + "/new/state");
openHostIdentity(folder + "/new/state", undefined)[Symbol.dispose]();
await store[Symbol.asyncDispose]();
`;

test.skipIf(!canTrace)(
  "each folder and the token is made, and then the folder that names it is synced",
  {
    timeout: 60_000,
  },
  async () => {
    const folder = realpathSync(mkdtempSync(path.join(tmpdir(), "perdure-durable-")));
    try {
      const calls = await traced(folder);

      for (const name of ["new", "new/state", "new/state/blobs", "new/state/transit", "new/state/hosts"]) {
        const made = calls.findIndex((line) => line.includes(`mkdir`) && line.includes(`"${path.join(folder, name)}"`));
        expect(made, name).toBeGreaterThanOrEqual(0);
        expect(calls.slice(made), name).toContainEqual(synced(path.dirname(path.join(folder, name))));
      }
      const linked = calls.findIndex(
        (line) => /link(?:at)?\(/.test(line) && line.includes(`"${folder}/new/state/token"`),
      );
      expect(linked).toBeGreaterThanOrEqual(0);
      expect(calls.slice(linked)).toContainEqual(synced(`${folder}/new/state`));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

function synced(place: string): string {
  return expect.stringMatching(new RegExp(`fsync\\(\\d+<${place}>\\)`)) as string;
}

/** The calls that make, link and sync, one a line. */
async function traced(folder: string): Promise<readonly string[]> {
  const log = path.join(folder, "calls");
  const calls = "trace=mkdir,mkdirat,link,linkat,fsync";
  const program = [process.execPath, "--input-type=module", "-e", PROGRAM, folder];
  await promisify(execFile)("strace", ["-f", "-y", "-e", calls, "-o", log, ...program]);
  return readFileSync(log, "utf8").split("\n");
}
