/**
 * The tool `grep`: the system's own grep, run as a command of the sandbox. Its expressions cannot run away in our process,
 * its time is bounded by the supervisor, and no file has to leave the sandbox to be searched.
 */
import { z } from "zod";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import type { CommandEnd } from "../sandbox/provider.ts";
import { failed, refusalsAsResults } from "./failure.ts";
import { UNLISTED_FOLDERS } from "./list-files.ts";
import { NO_REDACTION, type Redactor } from "./redactor.ts";
import type { Tool, ToolContext, ToolResult } from "./tool.ts";
import { decode } from "./utf8.ts";

/** Shown of one matching line. */
const LINE_CHARACTERS = 300;
/** Taken of one line by cut, in the sandbox: a minified file has lines of megabytes. */
const LINE_BYTES = 2_000;
const OUTPUT_BYTES_MAX = (LIMITS.grepMatchesMax + 1) * (LINE_BYTES + 1);

const Parameters = z.strictObject({
  pattern: z
    .string()
    .min(1)
    .describe("A POSIX extended regular expression (grep -E; \\d, \\w, \\s and \\b work, look-around does not)."),
  path: z
    .string()
    .min(1)
    .default(".")
    .describe("A file or a folder, relative to the workspace. Default: the workspace."),
  glob: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Only files whose name matches, such as *.ts or *.{js,ts}; with a / it is matched against the path below.",
    ),
});

export const grep: Tool<typeof Parameters> = {
  name: "grep",
  description:
    "Searches text files for a regular expression, folders with all that is below them, and returns path:line:text. " +
    `Binary files are left out, and so are ${UNLISTED_FOLDERS.join(" and ")} unless the path leads into them.`,
  parameters: Parameters,
  replay: "keyed",
  quick: false,
  changesFiles: false,
  changesWorld: false,
  argumentKinds: { path: "path" },
  summary: ({ pattern }) => `grep: ${pattern}`,
  run: (args, context) => refusalsAsResults(() => search(args, context)),
};

interface Found {
  readonly stdout: string;
  readonly stderr: string;
  readonly end: CommandEnd | undefined;
}

async function search(args: z.output<typeof Parameters>, context: ToolContext): Promise<ToolResult> {
  const { sandbox, callId, signal } = context;
  const info = await sandbox.stat(args.path);
  if (info === undefined) return failed(`there is no ${args.path}. Use list_files to see what is there.`);
  const cwd = info.kind === "folder" ? args.path : undefined;
  const command = info.kind === "folder" ? searchFolder(args) : `${grepWords(args.pattern)} -- ${quoted(args.path)}`;
  let found: Found | undefined;
  if (!signal.aborted) {
    const bounded = `set -f; { ${command}; } | cut -b1-${LINE_BYTES} | head -n ${LIMITS.grepMatchesMax + 1}`;
    await sandbox.start({
      callId,
      command: bounded,
      timeoutMs: LIMITS.grepTimeoutMs,
      ...(cwd !== undefined && { cwd }),
    });
    found = await readOutput(context, signal);
  }
  if (found?.end === undefined) {
    if (!context.isStopped()) throw signal.reason;
    await sandbox.kill(callId);
    return { outcome: "interrupted", text: "[interrupted]" };
  }
  return inWords(args, { ...found, end: found.end, redactor: context.secrets?.redactor ?? NO_REDACTION });
}

/** find is in every image; not every grep knows --include. */
function searchFolder({ pattern, glob }: z.output<typeof Parameters>): string {
  const unlisted = UNLISTED_FOLDERS.map((name) => `-path ${quoted(`./*${name}`)} -name ${quoted(name)}`);
  const top = UNLISTED_FOLDERS.map((name) => `-path ${quoted(`./${name}`)}`);
  const pruned = [...top, ...unlisted.map((test) => `\\( ${test} \\)`)].join(" -o ");
  const names = glob === undefined ? "" : `\\( ${alternatives(glob).map(nameTest).join(" -o ")} \\)`;
  return `find . -type d \\( ${pruned} \\) -prune -o -type f ${names} -exec ${grepWords(pattern)} -- {} +`;
}

function grepWords(pattern: string): string {
  return `grep -nHIE -e ${quoted(asExtended(pattern))}`;
}

/** What models take from other dialects: \d, which grep -E does not know. */
function asExtended(pattern: string): string {
  let inBrackets = false;
  return pattern.replaceAll(/\\.|\[\^?\]?|\]/gs, (piece) => {
    if (piece === "\\d") return inBrackets ? "0-9" : "[0-9]";
    if (piece.startsWith("[") && !inBrackets) inBrackets = true;
    else if (piece === "]") inBrackets = false;
    return piece;
  });
}

function nameTest(glob: string): string {
  if (!glob.includes("/")) return `-name ${quoted(glob)}`;
  return `-path ${quoted(`./${glob.replace(/^\.?\//, "").replaceAll("**/", "*")}`)}`;
}

/** `*.{js,ts}` → `*.js`, `*.ts`: find knows no braces. One pair is enough for what is asked in practice. */
function alternatives(glob: string): readonly string[] {
  const braces = /^(.*?)\{([^{}]*)\}(.*)$/s.exec(glob);
  if (braces === null) return [glob];
  const [, before = "", inside = "", after = ""] = braces;
  return inside.split(",").map((one) => `${before}${one}${after}`);
}

/** As one word for any POSIX shell, whatever is in it. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

async function readOutput({ sandbox, callId }: ToolContext, signal: AbortSignal): Promise<Found> {
  const pieces = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  let end: CommandEnd | undefined;
  let bytes = 0;
  for await (const event of sandbox.follow(callId, { stdout: 0, stderr: 0 }, signal)) {
    if (event.type === "ended") end = event.end;
    else if (bytes < OUTPUT_BYTES_MAX) {
      bytes += event.bytes.length;
      pieces[event.stream].push(event.bytes);
    }
  }
  return { stdout: decode(Buffer.concat(pieces.stdout)), stderr: decode(Buffer.concat(pieces.stderr)), end };
}

function inWords(
  { pattern, path }: z.output<typeof Parameters>,
  found: Found & { readonly end: CommandEnd; readonly redactor: Redactor },
): ToolResult {
  const { end, redactor } = found;
  const base = path === "." ? "" : `${path.replace(/\/+$/, "")}/`;
  const lines = found.stdout.split("\n").filter((line) => line !== "");
  const matches = lines.slice(0, LIMITS.grepMatchesMax).map((line) => shortened(line.replace(/^\.\//, base), redactor));
  if (end.ended === "killed") return { outcome: "interrupted", text: "[interrupted]" };
  if (end.ended === "unknown")
    return { outcome: "unknown", text: "[the search was killed; nothing was changed; search again]" };
  if (matches.length === 0 && end.ended === "timed_out") {
    return failed(`Nothing was found within ${LIMITS.grepTimeoutMs} ms. Search a smaller path, or with a glob.`);
  }
  const refusal = /grep: (?!.*(?:: No such file|: Permission denied|: Is a directory)).*/.exec(found.stderr)?.[0];
  if (matches.length === 0 && refusal !== undefined) {
    return failed(
      `${refusal}. The pattern was ${JSON.stringify(pattern)}; characters such as ( [ { need a \\ to stand for themselves.`,
    );
  }
  if (matches.length === 0) return { outcome: "ok", text: "No matches." };
  const { shown, isCut } = fitting(matches.toSorted(byPathAndLine));
  if (isCut || lines.length > LIMITS.grepMatchesMax || end.ended === "timed_out") {
    shown.push(`[there are more matches than these ${shown.length}; use a narrower pattern, path or glob]`);
  }
  return { outcome: "ok", text: shown.join("\n") };
}

function fitting(matches: readonly string[]): { readonly shown: string[]; readonly isCut: boolean } {
  const shown: string[] = [];
  let left = LIMITS.toolResultBytes - 512;
  for (const match of matches) {
    left -= Buffer.byteLength(match) + 1;
    if (left < 0) return { shown, isCut: true };
    shown.push(match);
  }
  return { shown, isCut: false };
}

/** Redacted where it is cut: half a secret looks like none. */
function shortened(line: string, redactor: Redactor): string {
  const isCut = line.length > LINE_CHARACTERS;
  return isCut ? `${redactor.text(cutText(line, LINE_CHARACTERS), { end: true })}[…]` : line;
}

/** find gives the order of the disk; a model wants the same each time. */
function byPathAndLine(a: string, b: string): number {
  const [pathA, lineA] = placeOf(a);
  const [pathB, lineB] = placeOf(b);
  if (pathA !== pathB) return pathA < pathB ? -1 : 1;
  return lineA - lineB;
}

function placeOf(match: string): readonly [path: string, line: number] {
  const place = /^(.*?):(\d+):/.exec(match);
  return place === null ? [match, 0] : [place[1] ?? "", Number(place[2])];
}
