/** The tool `read_file`: lines of a text file with their numbers, and words on what was left out. */
import { z } from "zod";
import { cutText } from "../contract/cut-text.ts";
import { LIMITS } from "../contract/limits.ts";
import { SandboxError } from "../sandbox/provider.ts";
import { failed, refusalsAsResults } from "./failure.ts";
import { NO_REDACTION, type Redactor } from "./redactor.ts";
import type { Tool, ToolContext, ToolResult } from "./tool.ts";
import { decode } from "./utf8.ts";

const { default: limitDefault, max: limitMax } = LIMITS.readLines;
/** Room for the words around the lines. */
const WORDS_BYTES = 512;
/** A NUL in the first so many bytes makes a file binary, as git sees it. */
const BINARY_PROBE_BYTES = 8_000;

const Parameters = z.strictObject({
  path: z.string().min(1).describe("The file, relative to the workspace."),
  offset: z.int().min(1).default(1).describe("The first line to read, counted from 1. Default 1."),
  limit: z
    .int()
    .min(1)
    .max(limitMax)
    .default(limitDefault)
    .describe(`How many lines to read at most. Default ${limitDefault}.`),
});

export const readFile: Tool<typeof Parameters> = {
  name: "read_file",
  description:
    "Reads lines of a text file. Each comes with its number and a tab before it; they are not part of the file. " +
    "What was left out is said at the end, with the offset to go on from.",
  parameters: Parameters,
  replay: "safe",
  quick: true,
  changesFiles: false,
  changesWorld: false,
  argumentKinds: { path: "path" },
  summary: ({ path }) => `read_file: ${path}`,
  run: (args, context) => refusalsAsResults(() => readLines(args, context)),
};

async function readLines(
  { path, offset, limit }: z.output<typeof Parameters>,
  { sandbox, secrets }: ToolContext,
): Promise<ToolResult> {
  const { content, bytes } = await readBounded(path, sandbox);
  if (content.subarray(0, BINARY_PROBE_BYTES).includes(0)) {
    return failed(
      `${path} is a binary file of ${bytes} bytes. Look at it with a command such as file, xxd or strings.`,
    );
  }
  const lines = linesOf(decode(content));
  if (lines.length === 0) return { outcome: "ok", text: `(${path} is empty)` };
  if (offset > lines.length) {
    return failed(`${path} has ${lines.length} lines, so there is no line ${offset}. Use a smaller offset.`);
  }
  const shown = numbered(lines.slice(offset - 1, offset - 1 + limit), offset, secrets?.redactor ?? NO_REDACTION);
  const next = offset + shown.length;
  const notes: string[] = [];
  if (next <= lines.length) {
    notes.push(`[lines ${offset} to ${next - 1} of ${lines.length}; go on with offset ${next}]`);
  }
  if (content.length < bytes) {
    const way = "see the rest with a command such as tail -c or sed -n";
    notes.push(`[the file has ${bytes} bytes, of which this tool reads the first ${content.length}; ${way}]`);
  }
  return { outcome: "ok", text: [...shown, ...notes].join("\n") };
}

async function readBounded(
  path: string,
  sandbox: ToolContext["sandbox"],
): Promise<{ readonly content: Uint8Array; readonly bytes: number }> {
  try {
    const content = await sandbox.readFile(path);
    return { content, bytes: content.length };
  } catch (thrown) {
    if (!(thrown instanceof SandboxError) || thrown.kind !== "too_large") throw thrown;
    const content = await sandbox.readFile(path, { length: LIMITS.fileReadBytesMax });
    return { content, bytes: (await sandbox.stat(path))?.bytes ?? content.length };
  }
}

function linesOf(text: string): readonly string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** As many lines as a result holds, and always one. */
function numbered(lines: readonly string[], first: number, redactor: Redactor): readonly string[] {
  const shown: string[] = [];
  let left = LIMITS.toolResultBytes - WORDS_BYTES;
  for (const [index, line] of lines.entries()) {
    const text = `${String(first + index).padStart(6)}\t${shortened(line, redactor)}`;
    left -= Buffer.byteLength(text) + 1;
    if (left < 0 && shown.length > 0) break;
    shown.push(text);
  }
  return shown;
}

function shortened(line: string, redactor: Redactor): string {
  if (line.length <= LIMITS.lineCharactersMax) return line;
  // Half a secret would look like none to whoever redacts the whole.
  return `${redactor.text(cutText(line, LIMITS.lineCharactersMax), { end: true })}[… this line has ${line.length} characters]`;
}
