/** The local provider: the conformance suite, and what is its own: environment, folders, processes of this host. */
import { mkdtempSync, rmSync } from "node:fs";
import { symlink } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLocalProvider } from "../../sandbox/local.ts";
import { run, text } from "./commands.ts";
import { describeSandboxProvider } from "./conformance.ts";
import { killsOnHost } from "./host-kills.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "perdure-local-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describeSandboxProvider("local", () => ({
  provider: createLocalProvider({ root }),
  elsewhere: { provider: "local", root },
  ...killsOnHost(() => root),
}));

test("the environment of a command is an allow-list", async () => {
  const hostEnvironment = {
    PATH: "/repo/node_modules/.bin:relative/bin::/usr/bin:/bin",
    USER: "somebody",
    OPENAI_API_KEY: "sk-secret",
    OPENAI_BASE_URL: "http://secret",
    PERDURE_STATE_DIR: "/secret",
    TEMPORAL_ADDRESS: "secret",
    NODE_OPTIONS: "--secret",
    BASH_ENV: "/secret",
    LD_PRELOAD: "",
  };
  const provider = createLocalProvider({ root, hostEnvironment });
  const sandbox = await provider.open("sbx_environment");

  const printed = text((await run(sandbox, "env")).stdout);

  const names = printed.match(/^\w+(?==)/gm) ?? [];
  expect(printed).not.toMatch(/secret/);
  expect(printed).toContain("PATH=/usr/bin:/bin\n");
  expect(printed).toContain(`HOME=${sandbox.workspace}\n`);
  expect(names.toSorted()).toEqual([
    "HOME",
    "LANG",
    "OLDPWD",
    "PATH",
    "PERDURE_CALL",
    "PWD",
    "SHLVL",
    "TERM",
    "TMPDIR",
    "USER",
    "_",
  ]);
  await provider.remove("sbx_environment");
});

test("a host without a PATH still finds programs", async () => {
  const provider = createLocalProvider({ root, hostEnvironment: {} });
  const sandbox = await provider.open("sbx_no_path");

  expect((await run(sandbox, "ls")).end).toMatchObject({ exitCode: 0 });
  await provider.remove("sbx_no_path");
});

test("temporary files of commands go with the sandbox", async () => {
  const provider = createLocalProvider({ root });
  const sandbox = await provider.open("sbx_temporary");

  const environment = { TMPDIR: "/nowhere" }; // What has left its group is found by this variable, so it is not for a command to set.
  const file = text((await run(sandbox, "mktemp", { environment })).stdout);

  expect(file.startsWith(path.dirname(sandbox.workspace))).toBe(true);
  await provider.remove("sbx_temporary");
});

test("sandboxes below a symlinked folder work, as their paths are the real ones", async () => {
  await symlink(root, `${root}-alias`);
  const provider = createLocalProvider({ root: `${root}-alias` });
  const sandbox = await provider.open("sbx_alias");

  expect(text((await run(sandbox, "pwd -P")).stdout)).toBe(`${sandbox.workspace}\n`);
  await sandbox.writeFile(`${sandbox.workspace}/a`, new Uint8Array());
  await provider.remove("sbx_alias");
  rmSync(`${root}-alias`);
});
