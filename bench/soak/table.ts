/** The lines of a soak as a table for people. */
import { sizeText } from "../../cli/quantities.ts";
import type { Line } from "./lines.ts";

const COLUMNS = ["line", "first third", "middle", "last", "highest", ""] as const;

export function renderLines(lines: readonly Line[]): string {
  const rows = lines.map(({ rule, thirds, highest, verdict }) => {
    const show = (value: number): string => (rule.unit === "bytes" ? sizeText(value) : String(Math.round(value)));
    const remark = verdict === "explained" ? `grows: ${rule.explained}` : verdict;
    return [rule.key, ...thirds.map(show), show(highest), remark];
  });
  const all = [[...COLUMNS], ...rows];
  const widths = COLUMNS.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return `${all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n")}\n`;
}
