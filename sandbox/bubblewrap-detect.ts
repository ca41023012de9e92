/** Whether bubblewrap sandboxes can be made on this host, found by making one, and why not. */
import { spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Entrance, entranceArguments, FILTER_FILE, profileArguments, writeProfile } from "./bubblewrap-profile.ts";

export type BubblewrapFinding =
  | ({ readonly works: true } & Entrance)
  /** In words for an operator. */
  | {
      readonly works: false;
      readonly reason: string;
      /** It could not be tried: memory or processes were short, or the machine too slow. Another time may tell. */
      readonly isUncertain?: boolean;
    };

export interface BubblewrapSearch {
  readonly platform?: string;
  /** Where programs are looked for. Default: this process's PATH. */
  readonly searchPath?: string;
}

const TRY_MS = 10_000;
const EXIT_CODE = 42;
const SHORTAGE = /Resource temporarily unavailable|Cannot allocate memory|Too many open files/;
const SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Runs a command in the whole profile once; takes some 30 ms. Never throws. */
export async function detectBubblewrap(search: BubblewrapSearch = {}): Promise<BubblewrapFinding> {
  const { platform = process.platform, searchPath = process.env["PATH"] ?? SEARCH_PATH } = search;
  if (platform !== "linux") return { works: false, reason: `bubblewrap needs Linux, and this is ${platform}` };
  const bwrap = findProgram("bwrap", searchPath);
  if (bwrap === undefined) {
    return { works: false, reason: "bwrap is not installed (package bubblewrap), or not on the PATH" };
  }
  const resetsSignals = (await run(["/usr/bin/env", "--default-signal=TERM", "true"])).code === 0;
  const folder = mkdtempSync(path.join(os.tmpdir(), "perdure-bwrap-"));
  try {
    for (const name of ["workspace", "calls"]) mkdirSync(path.join(folder, name));
    const parts = { folder, readOnly: [], binds: [] };
    const profile = profileArguments(parts);
    const entrance: Entrance = { bwrap, resetsSignals };
    const inner = ["/bin/sh", "-c", `exit ${EXIT_CODE}`];
    const given = entranceArguments(entrance, { parts, cwd: "/workspace", inner });
    // As arguments here: there is no supervisor that opens the file of them.
    const at = given.lastIndexOf("--args");
    writeProfile(path.join(folder, "profile"), profile);
    const opening = ["/bin/sh", "-c", 'exec 6<"$0"; exec "$@"', path.join(folder, FILTER_FILE)];
    const tried = await run([...opening, ...given.slice(0, at), ...profile, ...given.slice(at + 2)]);
    return tried.code === EXIT_CODE
      ? { works: true, ...entrance }
      : {
          works: false,
          reason: reasonOf(tried),
          isUncertain: tried.code === undefined || SHORTAGE.test(tried.words),
        };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function reasonOf({ code, words }: Ran): string {
  const said = words.trim().split("\n").at(-1)?.slice(0, 300) ?? "";
  if (/disable-userns|Unknown option/.test(said)) return `bwrap is too old, expected 0.8 or newer: ${said}`;
  if (/user namespace|uid map|userns/i.test(said)) {
    return `this system forbids user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces, or AppArmor): ${said}`;
  }
  if (/seccomp/i.test(said))
    return `this system cannot filter system calls, and a sandbox without is not made: ${said}`;
  if (/Operation not permitted|Permission denied/.test(said)) {
    return `this system forbids what bwrap needs, as containers often do: ${said}`;
  }
  return said === "" ? `bwrap ended with ${code ?? "no exit code"}` : `bwrap failed: ${said}`;
}

function findProgram(name: string, searchPath: string): string | undefined {
  return searchPath
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder))
    .map((folder) => path.join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

interface Ran {
  readonly code: number | undefined;
  readonly words: string;
}

function run([program = "", ...args]: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env: { PATH: SEARCH_PATH }, cwd: "/", stdio: ["ignore", "ignore", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), TRY_MS);
    let words = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-2_000);
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ code: undefined, words: error.message });
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? undefined, words });
    });
  });
}
