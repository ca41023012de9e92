/** The tool `edit_file`: replaces an exact text in a file, once for its call id, also when the result of a first time was lost. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { failed, refusalsAsResults } from "./failure.ts";
import { nearestLine } from "./nearest-line.ts";
import type { Redactor } from "./redactor.ts";
import type { Tool, ToolContext, ToolResult } from "./tool.ts";

const LINES_NAMED_MAX = 10;

const Parameters = z.strictObject({
  path: z.string().min(1).describe("The file, relative to the workspace."),
  oldText: z.string().min(1).describe("The text to replace, exactly as it is in the file, white space included."),
  newText: z.string().describe("The text to put in its place."),
  all: z.boolean().default(false).describe("Replace every occurrence. Default false: there must be exactly one."),
});
type Edit = z.output<typeof Parameters>;

/** What is noted before the write: the next attempt tells by the file's hash whether it happened. */
const Intent = z.object({ before: z.string(), after: z.string(), text: z.string() });

export const editFile: Tool<typeof Parameters> = {
  name: "edit_file",
  description:
    "Replaces a text in a file. oldText must be in the file exactly once, so take enough of the text around it, or set all. " +
    "Read the file before; leave the line numbers of read_file out.",
  parameters: Parameters,
  replay: "keyed",
  quick: true,
  changesFiles: true,
  changesWorld: true,
  argumentKinds: { path: "path" },
  summary: ({ path }) => `edit_file: ${path}`,
  run: (args, context) => refusalsAsResults(() => editOnce(args, context)),
};

async function editOnce(edit: Edit, context: ToolContext): Promise<ToolResult> {
  const { sandbox } = context;
  const content = await sandbox.readFile(edit.path);
  const before = hashOf(content);
  if (context.intent !== undefined) {
    const intent = Intent.parse(JSON.parse(context.intent));
    if (before === intent.after) return { outcome: "ok", text: intent.text };
    if (before !== intent.before) {
      const text = `This edit of ${edit.path} was begun once, and the file has changed since: whether it was made is unknown. Read the file before you edit it again.`;
      return { outcome: "unknown", text };
    }
  }
  const edited = apply(edit, content, context.secrets?.redactor);
  if ("refusal" in edited) return failed(edited.refusal);
  const bytes = Buffer.from(edited.content);
  await context.noteIntent(JSON.stringify({ before, after: hashOf(bytes), text: edited.text }));
  await sandbox.writeFile(edit.path, bytes);
  return { outcome: "ok", text: edited.text };
}

type Edited = { readonly content: string; readonly text: string } | { readonly refusal: string };

function apply({ path, oldText, newText, all }: Edit, bytes: Uint8Array, redactor?: Redactor): Edited {
  const content = decodeExactly(bytes);
  if (content === undefined) return { refusal: `${path} is not a UTF-8 text, so it cannot be edited with this tool.` };
  if (oldText === newText) return { refusal: "oldText and newText are the same, so there is nothing to change." };
  // Models write \n; a file with \r\n is edited in its own way.
  const windows = !content.includes(oldText) && content.includes("\r\n");
  const wanted = windows ? withWindowsLines(oldText) : oldText;
  const replacement = windows ? withWindowsLines(newText) : newText;
  const places = occurrences(content, wanted);
  if (places.length === 0) return { refusal: `oldText is not in ${path}.${nearestLine(content, oldText, redactor)}` };
  if (places.length > 1 && !all) {
    const lines = lineNumbers(content, places);
    return {
      refusal: `oldText is ${places.length} times in ${path}, at the lines ${lines}. Take more of the text around the one you mean, or set all to true.`,
    };
  }
  const times = places.length === 1 ? "1 occurrence" : `${places.length} occurrences`;
  const where = places.length === 1 ? "line" : "lines";
  return {
    content: content.split(wanted).join(replacement),
    text: `Replaced ${times} in ${path} (${where} ${lineNumbers(content, places)}).`,
  };
}

function occurrences(content: string, wanted: string): readonly number[] {
  const places: number[] = [];
  for (let at = content.indexOf(wanted); at >= 0; at = content.indexOf(wanted, at + wanted.length)) places.push(at);
  return places;
}

function lineNumbers(content: string, places: readonly number[]): string {
  const numbers: number[] = [];
  let line = 1;
  let from = 0;
  for (const place of places.slice(0, LINES_NAMED_MAX)) {
    for (let at = content.indexOf("\n", from); at >= 0 && at < place; at = content.indexOf("\n", at + 1)) line++;
    from = place;
    numbers.push(line);
  }
  return numbers.join(", ") + (places.length > LINES_NAMED_MAX ? ", …" : "");
}

function withWindowsLines(text: string): string {
  return text.replaceAll(/\r?\n/g, "\r\n");
}

/** undefined when encoding it again would not give the same bytes. */
function decodeExactly(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
