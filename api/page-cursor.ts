/** The cursor of a listing by time and id: where its next page begins, opaque to clients. */
import { invalidField } from "./input.ts";

export interface PagePlace {
  readonly at: number;
  readonly id: string;
}

export function toCursor({ at, id }: PagePlace): string {
  return Buffer.from(`${at}.${id}`).toString("base64url");
}

export function fromCursor(cursor: string): PagePlace {
  const [, at, id] = /^(\d{1,15})\.([\w-]{1,100})$/.exec(Buffer.from(cursor, "base64url").toString("utf8")) ?? [];
  if (at === undefined || id === undefined) throw invalidField("/query/cursor", "expected the `next` of another page");
  return { at: Number(at), id };
}
