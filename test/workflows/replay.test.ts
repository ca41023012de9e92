/** Today's workflow code replays yesterday's sessions: every recorded history of every release, with no server. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DefaultLogger, Runtime, Worker } from "@temporalio/worker";
import { beforeAll, expect, test } from "vitest";
import { workflowBundle } from "../../workers/bundle.ts";

const HISTORIES = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "histories");
const recorded = readdirSync(HISTORIES, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".json"))
  .sort();

let codePath: string;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger("ERROR") });
  codePath = await workflowBundle();
});

const read = (name: string): unknown => JSON.parse(readFileSync(path.join(HISTORIES, name), "utf8"));

const FIRST = ["plain-turn", "tool-loop", "interrupt", "continue-as-new", "continue-as-new-run-2", "failed-turn"];
const SECOND = [...FIRST, "approvals", "people", "steering", "configured"];
const THIRD = [...SECOND, "idle", "lost"];
const SHAPES = {
  "0.1": FIRST,
  "0.2": SECOND,
  "0.3": THIRD,
  "0.4": [...THIRD, "recovered", "recovered-run-2", "recovered-run-3"],
};

test.each(Object.entries(SHAPES))(
  "there is a history of each shape that a session of %s can take",
  (release, shapes) => {
    expect(recorded).toEqual(expect.arrayContaining(shapes.map((shape) => `${release}/${shape}.json`)));
  },
);

test.each(recorded)("%s replays", async (name) => {
  await Worker.runReplayHistory({ workflowBundle: { codePath } }, read(name), "replayed");
});

test("a history that today's code would not have made is refused", async () => {
  const text = readFileSync(path.join(HISTORIES, "0.1", "tool-loop.json"), "utf8");
  const changed: unknown = JSON.parse(text.replaceAll('"name":"runTool"', '"name":"somethingElse"'));

  const replay = Worker.runReplayHistory({ workflowBundle: { codePath } }, changed, "replayed");

  await expect(replay).rejects.toThrow(/[Nn]ondeterminism/);
});
