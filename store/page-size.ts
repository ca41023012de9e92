/** How long a page of a listing is: as many rows as were asked for, and no more bytes than an answer should have. */
import { type ReferenceExpression, type SelectQueryBuilder, sql } from "kysely";
import { LIMITS } from "../contract/limits.ts";

export interface Page<T> {
  readonly rows: readonly T[];
  /** There are others behind them. */
  readonly hasMore: boolean;
}

/**
 * The first rows of an ordered query: at most `limit`, at most so many bytes in the column that may be large, and at least
 * one, so that every row can be had. The sizes are read first: a row that is not in the page is never in memory.
 */
export async function firstPage<DB, TB extends keyof DB, T>(
  query: SelectQueryBuilder<DB, TB, T>,
  { large, limit }: { readonly large: ReferenceExpression<DB, TB> & string; readonly limit: number },
): Promise<Page<T>> {
  const size = sql<number>`octet_length(${sql.ref(large)})`.as("size");
  const measured = query.clearSelect().select(size);
  const sizes = await measured.limit(limit + 1).execute();
  let bytes = 0;
  const tooMuch = sizes.findIndex((row, index) => {
    // Of a table that is not known here, the builder's type does not tell that this is there.
    bytes += "size" in row ? Number(row.size) : 0;
    return index > 0 && bytes > LIMITS.pageBytesMax;
  });
  const fitting = Math.min(limit, tooMuch < 0 ? sizes.length : tooMuch);
  const rows = fitting === 0 ? [] : await query.limit(fitting).execute();
  return { rows, hasMore: sizes.length > fitting };
}
