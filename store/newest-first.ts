/** Listings by age, newest first: where a page goes on behind the last row of the page before. */
import { type RawBuilder, type SqlBool, sql } from "kysely";

export interface LastSeen {
  readonly createdAt: number;
  readonly id: string;
}

/** Rows behind that one in the order `created_at desc, id desc`, of any table that has both. */
export function isOlder({ createdAt, id }: LastSeen): RawBuilder<SqlBool> {
  return sql<SqlBool>`(created_at, id) < (${createdAt}, ${id})`;
}
