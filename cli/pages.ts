/** Listings that come page by page, read until there are as many as were asked for. */

export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

export interface PageQuery {
  readonly limit: number;
  readonly cursor: string | undefined;
}

/** At most `max` items; `hasMore` when there are others behind them. */
export async function readPages<T>(
  max: number,
  pageMax: number,
  read: (query: PageQuery) => Promise<Page<T>>,
): Promise<{ readonly items: readonly T[]; readonly hasMore: boolean }> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await read({ limit: Math.min(max - items.length, pageMax), cursor });
    items.push(...page.items);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && items.length < max);
  return { items, hasMore: cursor !== undefined };
}

/** Cells of a table in columns of these widths; the last one is as long as it is. */
export function tableRow(widths: readonly number[], cells: readonly string[]): string {
  return cells
    .map((cell, i) => cell.padEnd(widths[i] ?? 0))
    .join("  ")
    .trimEnd();
}
