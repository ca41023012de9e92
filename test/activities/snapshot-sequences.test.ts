/**
 * Random edits of a workspace, a snapshot after each few of them, and restores in between: what comes back is exactly what was
 * there. A sequence is told by its seed, so that a failing one can be run again.
 */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import { type TemporaryStore, temporaryStore } from "../store/store-builder.ts";
import { aKeptWorkspace, type Kept, pathsBelow, treeOf } from "./snapshot-builder.ts";

const SEQUENCES = 60;
const AT_ONCE = 6;
const EDITS = 18;

const NAMES = [
  ...[
    "a",
    "b.txt",
    "-rf",
    "--",
    ".hidden",
    "with space",
    " leading",
    "trailing ",
    "new\nline",
    "tab\there",
    "quote'\"`$(x)",
  ],
  ...[
    "ünïcödé",
    "e\u0301 decomposed",
    "日本語",
    "🦀",
    "back\\slash",
    "a:b",
    "#hash",
    "!bang",
    "*",
    "[x]",
    "~",
    "line\u2028end",
  ],
  ...["long-".repeat(25), "é".repeat(100), "CON", "...", "..x", "%41", "\u0001control"],
];
const MODES = [0o644, 0o600, 0o755, 0o400, 0o777, 0o640, 0o1644];

/** The same numbers for the same seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Below = (below: number) => number;

function folders(root: string): readonly string[] {
  return [root, ...pathsBelow(root).filter((file) => lstatSync(file).isDirectory())];
}

function contentOf(below: Below): Buffer {
  const kind = below(30);
  if (kind < 3) return Buffer.alloc(0);
  if (kind === 3) return Buffer.alloc(LIMITS.snapshotLargeBytes - 1 + below(3), below(4));
  return Buffer.alloc(1 + below(5_000), below(200));
}

/** One edit at a random place; what cannot be done there is left. */
function edit(root: string, below: Below): void {
  const all = folders(root);
  const folder = all[below(all.length)] ?? root;
  const place = path.join(folder, NAMES[below(NAMES.length)] ?? "a");
  const stats = lstatSync(place, { throwIfNoEntry: false });
  switch (below(9)) {
    case 0:
    case 1:
    case 2:
      if (!stats?.isDirectory()) rmSync(place, { force: true });
      if (!stats?.isDirectory()) writeFileSync(place, contentOf(below));
      return;
    case 3:
      if (!stats && all.length < 12) mkdirSync(place);
      return;
    case 4:
      if (!stats) symlinkSync(["a", "../b.txt", "/etc/passwd", "missing", ".", "ünïcödé"][below(6)] ?? "a", place);
      return;
    case 5:
      if (stats && below(3) === 0) rmSync(place, { recursive: true });
      return;
    case 6:
      if (stats?.isFile()) chmodSync(place, MODES[below(MODES.length)] ?? 0o644);
      else if (stats?.isDirectory()) chmodSync(place, 0o700 + below(0o100));
      return;
    case 7:
      if (stats?.isFile()) appendFileSync(place, "more");
      return;
    default: {
      const to = path.join(root, NAMES[below(NAMES.length)] ?? "a");
      if (stats && !existsSync(to) && !to.startsWith(`${place}/`)) renameSync(place, to);
      else if (stats?.isFile()) utimesSync(place, 1_000_000 + below(1_000), 1_000_000 + below(1_000));
    }
  }
}

async function play(store: TemporaryStore, seed: number): Promise<void> {
  const kept: Kept = await aKeptWorkspace({}, store);
  const below = numbers(seed);
  const rounds = 2 + below(2);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < EDITS; i++) edit(kept.workspace.folder, below);
    const taken = await kept.take();
    if (!taken) continue;
    const tree = treeOf(kept.workspace.folder);
    const restored = await kept.restore(taken.id);
    expect(treeOf(restored.folder), `seed ${seed}, round ${round}`).toEqual(tree);
    // Half of them go on in the restored workspace, as after a loss; the others in the one that was there.
    kept.goOn(below(2) === 0 ? restored : kept.workspace);
  }
}

test(`${SEQUENCES} random sequences of edits come back exactly as they were`, { timeout: 90_000 }, async () => {
  await using store = await temporaryStore();
  for (let seed = 1; seed <= SEQUENCES; seed += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => play(store, seed + index)));
  }
});
