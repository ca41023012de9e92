/** What a snapshot leaves out: caches that whoever needs them fills again, and what the sandbox's spec names. */
import ignore from "ignore";

/**
 * The workspace is HOME of its commands, so package managers' caches lie in it. Dependencies (`node_modules`, `.venv`) are kept:
 * a workspace that comes back without them does not run, and to store them costs once.
 */
const DEFAULT_EXCLUDES = [
  ".cache/",
  ".npm/_cacache/",
  ".npm/_logs/",
  ".npm/_npx/",
  ".yarn/cache/",
  ".pnpm-store/",
  ".cargo/registry/cache/",
  "node_modules/.cache/",
  "__pycache__/",
  ".pytest_cache/",
  ".mypy_cache/",
  ".ruff_cache/",
];

/** For `Sandbox.scan`. The patterns come after the defaults, so `!.cache/` takes one of those back. */
export function snapshotSkips(patterns: readonly string[] = []): (path: string) => boolean {
  const rules = ignore()
    .add(DEFAULT_EXCLUDES)
    .add([...patterns]);
  return (path) => ignore.isPathValid(path) && rules.ignores(path);
}
