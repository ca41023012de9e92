/** Command lines in real shells, in a sandbox whose programs are stand-ins: each leaves a mark with its name and its words. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export interface Ran {
  /** The programs that the line ran, with their words. */
  readonly programs: readonly string[];
  /** Files that it left in its folder, folders that hold some included. */
  readonly files: readonly string[];
}

/** What really runs what it is given. All other programs are stand-ins. */
const WRAPPERS = ["env", "xargs", "timeout", "nice", "find", "bash", "sh"];
const STAND_INS = ["git", "ls", "cat", "npm", "tail", "id", "printenv", "touch", "rm", "python3", "perl"];
/** By their paths, too. */
const REPLACED = ["id", "printenv", "touch", "rm"];

/** A line that runs longer, or waits for its input, is ended. */
const HARNESS = `
for folder in /lines/*; do
  number=\${folder##*/}
  printf '= %s\\n' "$number" >>/marks/log
  IFS= read -r -d '' line <"$folder"
  (cd "/w/$number" && timeout -k 1 2 "$1" -c "$line") </dev/null >/dev/null 2>&1
done
:`;

export function hasBubblewrap(): boolean {
  const tried = spawnSync("bwrap", ["--unshare-all", "--ro-bind", "/", "/", "true"], { stdio: "ignore" });
  return tried.status === 0;
}

export function hasShell(shell: string): boolean {
  return existsSync(`/usr/bin/${shell}`);
}

/** Runs each line by itself with \`shell -c\`, each in a folder of its own that holds a folder \`out\`. */
export function runLines(lines: readonly string[], shell: string): readonly Ran[] {
  if (lines.length === 0) return [];
  const root = mkdtempSync(path.join(tmpdir(), "perdure-lines-"));
  try {
    prepare(root, lines);
    const { status, stderr } = spawnSync("bwrap", sandboxed(root, shell), { encoding: "utf8", timeout: 240_000 });
    if (status !== 0) throw new Error(`the lines could not be run: ${status} ${stderr}`);
    const marks = marksOf(readFileSync(path.join(root, "marks", "log"), "utf8"));
    return lines.map((_line, index) => ({
      programs: marks.get(nameOf(index)) ?? [],
      files: readdirSync(path.join(root, "w", nameOf(index)), { recursive: true, encoding: "utf8" }).filter(
        (file) => file !== "out",
      ),
    }));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function prepare(root: string, lines: readonly string[]): void {
  for (const folder of ["lines", "w", "marks", "stand"]) mkdirSync(path.join(root, folder));
  for (const [index, line] of lines.entries()) {
    writeFileSync(path.join(root, "lines", nameOf(index)), line);
    mkdirSync(path.join(root, "w", nameOf(index), "out"), { recursive: true });
  }
  for (const name of STAND_INS) {
    const file = path.join(root, "stand", name);
    writeFileSync(
      file,
      `#!/usr/bin/dash\nset -f; IFS=' '; printf '%s\\n' "${name} $*" | { IFS= read -r l; printf '%s\\n' "$l" >>/marks/log; }\n`,
    );
    chmodSync(file, 0o755);
  }
}

function sandboxed(root: string, shell: string): readonly string[] {
  const bound = (name: string, at: string): string[] => ["--bind", path.join(root, name), at];
  return [
    ...["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--ro-bind", "/usr", "/usr"],
    ...REPLACED.flatMap((name) => ["--ro-bind", path.join(root, "stand", name), `/usr/bin/${name}`]),
    ...["bin", "lib", "lib64", "sbin"].flatMap((name) => ["--symlink", `usr/${name}`, `/${name}`]),
    ...["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", ...bound("lines", "/lines"), ...bound("w", "/w")],
    ...[...bound("marks", "/marks"), ...bound("stand", "/stand")],
    ...WRAPPERS.flatMap((name) => ["--symlink", `/usr/bin/${name}`, `/stand/${name}`]),
    ...["--setenv", "PATH", "/stand", "--setenv", "HOME", "/w", "--setenv", "KEY", "secret", "--chdir", "/w"],
    ...["/usr/bin/bash", "-c", HARNESS, "harness", `/usr/bin/${shell}`],
  ];
}

function marksOf(log: string): ReadonlyMap<string, readonly string[]> {
  const marks = new Map<string, string[]>();
  let current: string[] = [];
  for (const mark of log.split("\n")) {
    if (mark.startsWith("= ")) {
      current = [];
      marks.set(mark.slice(2), current);
    } else if (mark !== "") current.push(mark);
  }
  return marks;
}

/** In the order of the lines for a shell's pattern, too. */
function nameOf(index: number): string {
  return String(index).padStart(6, "0");
}
