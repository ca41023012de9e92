/**
 * A call's arguments as whoever decides about it must see them: all of them, as they are, one below the other. Nothing
 * is cut within a line, because what is hidden there would be run too; what is too long is counted, and can be asked for.
 */
import { exactText } from "./terminal-text.ts";

export interface ArgumentRows {
  readonly rows: readonly string[];
  /** Rows that are not shown. */
  readonly hidden: number;
}

export interface RowBounds {
  readonly rowsMax: number;
  readonly columns: number;
}

const COLUMNS_MIN = 20;

export function argumentRows(args: unknown, { rowsMax, columns }: RowBounds): ArgumentRows {
  const width = Math.max(COLUMNS_MIN, columns);
  const rows: string[] = [];
  let hidden = 0;
  for (const line of exactText(argumentsText(args)).split("\n")) {
    const count = Math.max(1, Math.ceil(line.length / width));
    for (let i = 0; i < count; i++) {
      if (rows.length >= rowsMax) {
        hidden += count - i;
        break;
      }
      rows.push(line.slice(i * width, (i + 1) * width).replaceAll("\t", "  "));
    }
  }
  return { rows, hidden };
}

function argumentsText(args: unknown): string {
  if (typeof args !== "object" || args === null || Array.isArray(args))
    return JSON.stringify(args, null, 2) ?? "(none)";
  const entries = Object.entries(args);
  return entries.length === 0 ? "(none)" : entries.map(([name, value]) => `${name}: ${valueText(value)}`).join("\n");
}

function valueText(value: unknown): string {
  if (typeof value !== "string") return indented(JSON.stringify(value, null, 2) ?? String(value));
  if (isAmbiguous(value)) return JSON.stringify(value);
  return value.includes("\n") ? `\n    ${value.replaceAll("\n", "\n    ")}` : value;
}

/** A text that would be read as a number, or as nothing at all, says that it is a text. */
function isAmbiguous(text: string): boolean {
  if (text.trim() === "") return true;
  return !text.includes("\n") && (text !== text.trim() || /^(true|false|null|-?\d[\d.eE+-]*)$/.test(text));
}

function indented(text: string): string {
  return text.replaceAll("\n", "\n  ");
}
