/**
 * One detached process per place, whoever starts it and however often.
 *
 * A place is a folder with `claims/<number>`: the newest claim whose process lives holds it. A claim appears whole, by a
 * link, with the pid that the program is going to have, so a starter may die between any two lines. `ready` names the claim
 * whose program has said that it is ready.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../../contract/limits.ts";
import { isWatched } from "../call-folder.ts";
import type { DetachedScript } from "../detached.ts";
import { SandboxError } from "../provider.ts";

/**
 * `sh -c CLAIM_SCRIPT perdure <place> <program> [argument …]`: becomes the program, with its claim's number as the last
 * argument, or ends when the place is held. The program closes its standard output when it is ready.
 */
const CLAIM_SCRIPT = `
cd "$1" || exit 1
shift
start=- boot=-
identify() {
  read -r stat </proc/$$/stat && read -r boot </proc/sys/kernel/random/boot_id && set -- \${stat##*) } && start=\${20}
}
identify || exit 1
living() {
  last=
  read -r pid then boot_then last <"claims/$1" || return 1
  [ "$last" = . ] && [ "$boot_then" = "$boot" ] && read -r stat <"/proc/$pid/stat" || return 1
  set -- \${stat##*) }
  [ "$1" != Z ] && [ "\${20}" = "$then" ]
}
# All numbers have nine digits, so the last by name is the newest.
look() {
  newest=
  for file in claims/[0-9]*; do [ -e "$file" ] && newest=\${file#claims/}; done
}
echo "$$ $start $boot ." >"claims/.$$" || exit 1
tries=0
while [ "$tries" -lt 20 ]; do
  tries=$((tries + 1))
  look
  [ -n "$newest" ] && living "$newest" && break
  mine=$((\${newest:-100000000} + 1))
  ln "claims/.$$" "claims/$mine" || continue
  rm -f "claims/.$$"
  # Whoever was held up between the look and the link may have taken a number that had been used and cleared away.
  look
  [ "$newest" = "$mine" ] || { rm -f "claims/$mine"; exit 0; }
  exec "$@" "$mine"
done
rm -f "claims/.$$"
`;

/** Starts after which nobody held the place. One may come of a kill in between. */
const TRIES_MAX = 8;

export interface HolderStart {
  readonly place: string;
  /** What it is, in words, for errors. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly run: (script: DetachedScript) => Promise<void>;
}

/** Makes a place; its parent must be there. One that is there is left as it is. */
export function makePlace(place: string): void {
  for (const folder of [place, path.join(place, "claims")]) {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (thrown) {
      if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
    }
  }
}

/** Resolves when a process holds the place and is ready. Throws SandboxError `failed` when none is in time, `lost` without a place. */
export async function startHolder({ place, name, argv, run }: HolderStart): Promise<void> {
  const deadline = Date.now() + LIMITS.egressStartMs;
  let tries = 0;
  for (let pace = 2; Date.now() < deadline; pace = Math.min(pace * 2, 50)) {
    const holder = readHolder(place);
    if (holder !== undefined && readReady(place)?.number === holder.number) return;
    if (holder === undefined) {
      const started = run({ script: CLAIM_SCRIPT, args: [place, ...argv], env: { PATH: process.env["PATH"] ?? "" } });
      await withinDeadline(started, deadline, name);
      if (readHolder(place) !== undefined) continue;
      if (newestClaim(place) === "gone") throw new SandboxError("lost", "the sandbox is gone: its folder is missing");
      tries += 1;
      if (tries === TRIES_MAX)
        throw new SandboxError("failed", `${name} did not start: it ended at once, ${tries} times`);
    }
    await delay(pace);
  }
  // It hangs: the next start must not wait for the same one.
  await stopHolder(place);
  throw new SandboxError("failed", `${name} did not start within ${LIMITS.egressStartMs / 1000} seconds`);
}

/** Sees to it that a process holds the place, or is about to, without a wait for it to be ready. Throws SandboxError `failed` or `lost`. */
export async function holdPlace({ place, name, argv, run }: HolderStart): Promise<void> {
  writeFileSync(path.join(place, "asked"), "");
  if (readHolder(place) !== undefined) return;
  const started = run({ script: CLAIM_SCRIPT, args: [place, ...argv], env: { PATH: process.env["PATH"] ?? "" } });
  await withinDeadline(started, Date.now() + LIMITS.egressStartMs, name);
  if (newestClaim(place) === "gone") throw new SandboxError("lost", "the sandbox is gone: its folder is missing");
}

/** Ends whoever holds the place: TERM, then KILL. Throws SandboxError `failed` when it stays. */
export async function stopHolder(place: string): Promise<void> {
  for (let tries = 0; tries < 3; tries += 1) {
    const holder = readHolder(place);
    if (holder === undefined) return;
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      signalTo(holder.pid, signal);
      if (await isGoneWithin(place, holder, LIMITS.killGraceMs)) break;
    }
  }
  const left = readHolder(place);
  if (left) throw new SandboxError("failed", `the process ${left.pid} of the sandbox's network could not be ended`);
}

export interface Holder {
  readonly number: string;
  readonly pid: number;
}

/** Who holds the place, if its process lives. */
export function readHolder(place: string): Holder | undefined {
  const number = newestClaim(place);
  if (number === undefined || number === "gone") return undefined;
  const [pid, startedAt = "", boot = "", last] = readText(path.join(place, "claims", number))
    .trim()
    .split(" ");
  if (last !== "." || !(Number(pid) > 1)) return undefined;
  const claim = { process: { pid: Number(pid), startedAt, boot }, timeoutMs: 0, claimedAt: 0 };
  return isWatched(claim) ? { number, pid: Number(pid) } : undefined;
}

/** What the holder said when it was ready. */
export function readReady(place: string): { readonly number: string; readonly told: string } | undefined {
  const [, number, told] = /^(\d+) (.*) \.\n$/.exec(readText(path.join(place, "ready"))) ?? [];
  return number === undefined || told === undefined ? undefined : { number, told };
}

/** Whether the place is there and nobody has taken it over. */
function isHolding(place: string, number: string): boolean {
  return newestClaim(place) === number;
}

/** In the program: says that it is ready, with one line of words for whoever asks, and lets go of whoever waits for it. */
export function becomeReady(place: string, number: string, told = "-"): void {
  const written = path.join(place, `.ready-${number}`);
  writeFileSync(written, `${number} ${told} .\n`, { mode: 0o600 });
  renameSync(written, path.join(place, "ready"));
  for (const name of claimNames(place)) if (name < number) rmSync(path.join(place, "claims", name), { force: true });
}

/** In the program: whoever waits for its standard output to be closed goes on; nothing is ever written there. */
export function letGoOfStarter(): void {
  closeSync(1);
  openSync("/dev/null", "w"); // Takes the number that became free.
}

/** In the program: ends the process soon after the place is gone or was taken over, or `isOver` says so. */
export function endWithPlace(place: string, number: string, isOver: () => boolean = () => false): void {
  setInterval(() => {
    try {
      if (isHolding(place, number) && !isOver()) return;
    } catch {
      // What cannot be looked at is not ours any more.
    }
    process.exit(0);
  }, LIMITS.egressLookMs);
}

function newestClaim(place: string): string | "gone" | undefined {
  try {
    return claimNames(place).at(-1);
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return "gone";
    throw thrown;
  }
}

function claimNames(place: string): readonly string[] {
  return readdirSync(path.join(place, "claims"))
    .filter((name) => /^\d+$/.test(name))
    .sort();
}

async function withinDeadline(started: Promise<void>, deadline: number, name: string): Promise<void> {
  const waiting = new AbortController();
  try {
    await Promise.race([started, delay(deadline - Date.now(), undefined, { signal: waiting.signal })]);
  } catch (cause) {
    throw new SandboxError("failed", `${name} could not be started: no process could be made`, { cause });
  } finally {
    waiting.abort();
  }
}

async function isGoneWithin(place: string, holder: Holder, waitMs: number): Promise<boolean> {
  const deadline = Date.now() + waitMs;
  while (readHolder(place)?.pid === holder.pid) {
    if (Date.now() > deadline) return false;
    await delay(10);
  }
  return true;
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself.
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
