/** The judgement of a soak's lines. */
import { expect, test } from "vitest";
import { judge, type LineRule } from "../../bench/soak/lines.ts";

const RULE: LineRule = { key: "rows", unit: "count", slack: 5 };
const RISING = Array.from({ length: 90 }, (_, index) => 100 + index * 3);

test("a line that rises only in its first third is flat", () => {
  const values = RISING.map((value, index) => Math.min(value, RISING[Math.min(index, 29)] ?? 0));
  expect(judge(RULE, values).verdict).toBe("flat");
});

test("a line that rises to its end grows, unless that is explained", () => {
  expect(judge(RULE, RISING).verdict).toBe("grows");
  expect(judge({ ...RULE, explained: "it is kept" }, RISING).verdict).toBe("explained");
});

test("one peak and noise within the slack are not growth", () => {
  const values = RISING.map((_, index) => (index === 80 ? 10_000 : 20 + (index % 5)));
  expect(judge(RULE, values).verdict).toBe("flat");
});
