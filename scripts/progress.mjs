/** Says what set-up is waiting for once that takes longer than two seconds. Plain JavaScript: it runs on Node 20 before the install. */

const QUIET_MS = 2_000;
const CLEAR_LINE = "\r\u001b[2K";

/**
 * Runs the work and tells on stderr that it goes on: on a terminal one line that updates, else a line every ten seconds.
 * The work gets a function that changes the text.
 * @template T
 * @param {string} text
 * @param {(update: (text: string) => void) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withProgress(text, work) {
  const { stderr } = process;
  const startedAt = Date.now();
  let current = text;
  let shown = false;
  const show = () => {
    shown = true;
    const line = `perdure: ${current} … ${Math.round((Date.now() - startedAt) / 1_000)} s`;
    stderr.write(stderr.isTTY ? CLEAR_LINE + line : `${line}\n`);
    timer = setTimeout(show, stderr.isTTY ? 1_000 : 10_000);
  };
  let timer = setTimeout(show, QUIET_MS);
  try {
    return await work((next) => {
      current = next;
    });
  } finally {
    clearTimeout(timer);
    if (shown && stderr.isTTY) stderr.write(CLEAR_LINE);
  }
}
