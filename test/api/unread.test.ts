/** What all readers have not read: bounded together, at the cost of those who read least. */
import { expect, test } from "vitest";
import { type Reader, UnreadBytes } from "../../api/unread.ts";

function aReader(unread: number): Reader & { isDropped: boolean } {
  return {
    unread,
    isDropped: false,
    drop() {
      this.isDropped = true;
    },
  };
}

test("those who read least go first, and no more of them than must", () => {
  const unread = new UnreadBytes(100);
  const readers = [10, 60, 20, 50].map(aReader);
  for (const reader of readers) unread.add(reader);

  unread.filled();

  expect(readers.map(({ isDropped }) => isDropped)).toEqual([false, true, false, false]);
});

test("nobody goes as long as it is not too much, and who has left does not count", () => {
  const unread = new UnreadBytes(100);
  const [first, second] = [aReader(60), aReader(60)];
  unread.add(first);
  unread.add(second);
  unread.remove(second);

  unread.filled();

  expect([unread.total, first.isDropped, second.isDropped]).toEqual([60, false, false]);
});
