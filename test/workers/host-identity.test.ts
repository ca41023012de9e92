/** What a host is called: the folder says so, and neither the machine's name nor a recreated container changes it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { openHostIdentity } from "../../workers/host-identity.ts";
import { isAlive, isGone, ownProcessName } from "../../workers/process-name.ts";
import { temporaryFolder } from "../store/store-builder.ts";

test("it is made once, and all workers of the machine have it, one after another and at once", () => {
  using folder = temporaryFolder();
  using first = openHostIdentity(folder.path, undefined, "boot-1");
  using second = openHostIdentity(folder.path, undefined, "boot-1");

  expect(first.id).toMatch(/^host-[0-9a-f]{12}$/);
  expect(second.id).toBe(first.id);
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  using later = openHostIdentity(folder.path, "another name", "boot-1");
  expect(later.id).toBe(first.id);
});

test("a machine that was started anew, or a folder that was moved to another one, keeps it", () => {
  using folder = temporaryFolder();
  const before = openHostIdentity(folder.path, undefined, "boot-1");
  before[Symbol.dispose]();

  using after = openHostIdentity(folder.path, undefined, "boot-2");

  expect(after.id).toBe(before.id);
});

test("two machines that live at one folder are two hosts, and each finds its own again", () => {
  using folder = temporaryFolder();
  using here = openHostIdentity(folder.path, "here", "boot-1");
  const there = openHostIdentity(folder.path, "here", "boot-2");
  expect(there.id).not.toBe(here.id);
  there[Symbol.dispose]();

  using again = openHostIdentity(folder.path, undefined, "boot-2");

  expect(again.id).toBe(there.id);
});

test("the host whose sandboxes an earlier version has made here keeps its name", () => {
  using folder = temporaryFolder();
  using host = openHostIdentity(folder.path, "old-container", "boot-1");

  expect(host.id).toBe("old-container");
});

test("a worker that was killed holds nothing", async () => {
  using folder = temporaryFolder();
  const program = `
    import { openHostIdentity } from "./workers/host-identity.ts";
    console.log(openHostIdentity(${JSON.stringify(folder.path)}, undefined, "boot-1").id);
    setInterval(() => undefined, 1_000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const held = openHostIdentity(folder.path, undefined, "boot-2");
  held[Symbol.dispose]();
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;

  // Both files are free now; the machine that was seen here last has its own.
  using after = openHostIdentity(folder.path, undefined, "boot-1");

  expect(after.id).toBe(line.toString().trim());
  expect(held.id).not.toBe(after.id);
});

test("of a process in another container it is not known that it is gone", () => {
  const own = ownProcessName("here");
  const [pid = "", , ...identity] = own.process.split(":");
  const elsewhere = [pid, "ns-1", ...identity].join(":");

  expect(isAlive(own.process)).toBe(true);
  expect(isAlive(["1", own.process.split(":")[1], "boot", "7"].join(":"))).toBe(false);
  expect(isAlive(elsewhere)).toBe(true);
  expect(isAlive([pid, ...identity].join(":"))).toBe(true); // As versions before 0.4 wrote it.
  expect(isAlive([pid, "boot", "7"].join(":"))).toBe(false);
  expect(isGone(`here/${elsewhere}`, "here")).toBe(false);
});
