/** However often a workspace changes, who keeps it is told in time and seldom. */
import { expect, test } from "vitest";
import { ChangeNews } from "../../api/change-news.ts";
import type { SessionId } from "../../contract/ids.ts";
import { until } from "../support/api-world.ts";

const A = "a" as SessionId;
const B = "b" as SessionId;
const EVERY_MS = 50;

function listening(failing = false) {
  const told: { readonly id: string; readonly at: number }[] = [];
  const news = new ChangeNews(async (id) => {
    told.push({ id, at: performance.now() });
    if (failing) throw new Error("Temporal is away");
  }, EVERY_MS);
  return { told, news, [Symbol.dispose]: () => news[Symbol.dispose]() };
}

test("the first change is told at once, and ten thousand more of them once", async () => {
  using world = listening();
  for (let change = 0; change < 10_000; change++) world.news.changed(A);
  expect(world.told).toHaveLength(1);

  await until(() => world.told.length === 2);
  const [first, second] = world.told;
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThan(EVERY_MS * 0.9);
});

test("a change after a silence is told at once, and sessions do not wait for each other", async () => {
  using world = listening();
  world.news.changed(A);
  world.news.changed(B);
  expect(world.told.map(({ id }) => id)).toEqual(["a", "b"]);

  await until(() => {
    world.news.changed(B);
    return world.told.filter(({ id }) => id === "b").length === 2;
  });
  expect(world.told.filter(({ id }) => id === "a")).toHaveLength(1);
});

test("a telling that fails does not keep the next one back", async () => {
  using world = listening(true);
  world.news.changed(A);
  world.news.changed(A);
  await until(() => world.told.length === 2);
});
