/** Ids of calls that every provider takes. */
import { expect, test } from "vitest";
import { WireCallIds, wireCallId } from "../../backends/wire-call-ids.ts";

test("an id is nine letters and digits, always the same for the same call, and no two share one", () => {
  const ids = Array.from({ length: 5_000 }, (_, at) => wireCallId(`call_${at}`));

  expect(ids.every((id) => /^[0-9A-Za-z]{9}$/.test(id))).toBe(true);
  expect(new Set(ids).size).toBe(5_000);
  expect(wireCallId("call_7")).toBe(ids[7]);
});

test("ids that come again, in one reply and in the next, are told apart, each with its own result", () => {
  const ids = new WireCallIds();
  const first = [ids.called("call_0"), ids.called("call_0")];
  const answers = [ids.answered("call_0"), ids.answered("call_0")];
  const second = ids.called("call_0");

  expect(new Set([...first, second]).size).toBe(3);
  expect(answers).toEqual(first);
  expect([ids.answered("call_0"), ids.answered("nobody's")]).toEqual([second, "nobody's"]);
});

test("a longer conversation begins with the same ids", () => {
  const run = (given: readonly string[]): readonly string[] => {
    const ids = new WireCallIds();
    return given.map((id) => ids.called(id));
  };

  expect(run(["a:1", "a:1", "b"]).slice(0, 2)).toEqual(run(["a:1", "a:1"]));
});
