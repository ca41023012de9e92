/** Whether something moves: whoever sends or reads so slowly that it would take days is ended, and what it holds is free again. */

export interface Pace {
  readonly slowMs: number;
  readonly slowBytes: number;
}

/** Calls `onSlow`, once, when fewer than `slowBytes` more came in `slowMs`. Returns how to stop. */
export function watchPace(moved: () => number, { slowMs, slowBytes }: Pace, onSlow: () => void): () => void {
  let before = moved();
  const timer = setInterval(() => {
    const now = moved();
    if (now - before >= slowBytes) {
      before = now;
      return;
    }
    clearInterval(timer);
    onSlow();
  }, slowMs).unref();
  return () => clearInterval(timer);
}
