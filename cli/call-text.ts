/** A tool call's arguments in one line, as a person wants to see them. */
import { exactLine } from "./terminal-text.ts";

const LINE_CHARACTERS = 160;
const SCRIPT_CHARACTERS = 2_000;
const VALUE_CHARACTERS = 60;
/** The argument that says what a call is about, by tool. */
const SUBJECT: Readonly<Record<string, string>> = {
  bash: "command",
  read_file: "path",
  write_file: "path",
  edit_file: "path",
  list_files: "path",
  grep: "pattern",
};

/** `npm test  cwd=web` for a known tool, `a=1 b="two"` for another one. */
export function argumentsLine(name: string, args: unknown): string {
  if (typeof args !== "object" || args === null) return exactLine(String(args ?? ""), LINE_CHARACTERS);
  const subject = SUBJECT[name];
  const entries = Object.entries(args).filter(([, value]) => value !== undefined && value !== null);
  const main = entries.find(([key, value]) => key === subject && typeof value === "string");
  const rest = entries.filter((entry) => entry !== main).map(([key, value]) => `${key}=${valueText(value)}`);
  const words = main ? [String(main[1]), ...rest] : rest;
  // A script of several lines stays readable on one.
  return exactLine(
    words
      .join("  ")
      .slice(0, SCRIPT_CHARACTERS)
      .trim()
      .replace(/\s*\n\s*/g, " ⏎ "),
    LINE_CHARACTERS,
  );
}

/** A long text, such as a file's content, is told by its length: its value is in the log. */
function valueText(value: unknown): string {
  if (typeof value === "string" && value.length > VALUE_CHARACTERS) return `(${value.length} characters)`;
  const json = JSON.stringify(value) ?? String(value);
  return json.length > VALUE_CHARACTERS ? `${json.slice(0, VALUE_CHARACTERS - 1)}…` : json;
}
