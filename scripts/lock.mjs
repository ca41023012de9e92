/** A lock between processes on one machine: a file that names its holder, taken over when the holder is dead. */
import { open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";

const BEAT_MS = 5_000;
/** A holder that has not touched its lock for so long is dead, wherever it ran. */
const STALE_MS = 30_000;
const POLL_MS = 250;
const WAIT_MS = 30 * 60_000;

/**
 * Runs the work while holding the file. While another process has it, waits; `isDone` is asked after each wait and
 * before the work, so that what the other one did is not done twice.
 * @template T
 * @param {{ file: string, isDone: () => Promise<T | undefined>, onWait?: (pid: string) => void }} lock
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock({ file, isDone, onWait }, work) {
  const deadline = Date.now() + WAIT_MS;
  let handle = await tryOpen(file);
  while (!handle) {
    const done = await isDone();
    if (done !== undefined) return done;
    if (!(await removeStale(file))) {
      const pid = await readFile(file, "utf8").then(
        (text) => text.split(" ")[0] ?? "",
        () => "",
      );
      if (pid !== "") onWait?.(pid);
      if (Date.now() > deadline)
        throw new Error(`waited 30 minutes for process ${pid}; remove ${file} if it is not at work`);
      await delay(POLL_MS);
    }
    handle = await tryOpen(file);
  }
  const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), BEAT_MS);
  try {
    await handle.writeFile(`${process.pid} ${hostname()}\n`);
    await handle.close();
    return (await isDone()) ?? (await work());
  } finally {
    clearInterval(beat);
    await rm(file, { force: true });
  }
}

async function tryOpen(file) {
  try {
    return await open(file, "wx");
  } catch (error) {
    if (error.code === "EEXIST") return undefined;
    throw error;
  }
}

/** Takes a dead holder's lock away. Should two waiters race here, both do the work; every work ends in a rename or is repeatable. */
async function removeStale(file) {
  const before = await stat(file).catch(() => undefined);
  if (!before) return true;
  const [pid, host] = (await readFile(file, "utf8").catch(() => "")).trim().split(" ");
  const dead = host === hostname() ? !isRunning(Number(pid)) : Date.now() - before.mtimeMs > STALE_MS;
  if (!dead) return false;
  const again = await stat(file).catch(() => undefined);
  if (!again || again.ino !== before.ino || again.mtimeMs !== before.mtimeMs) return true;
  const aside = `${file}.stale-${process.pid}`;
  await rename(file, aside).catch(() => undefined);
  await rm(aside, { force: true });
  return true;
}

function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}
