/**
 * No session's id is the id of a workflow of ours: every place that starts one, found in the sources, names it by
 * `ownWorkflowId`, and what that makes is no session's id. A session's own workflow alone may have a session's id.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { SessionId } from "../../contract/ids.ts";
import { OWN_WORKFLOWS, ownWorkflowId } from "../../contract/workflow-ids.ts";
import { createRandom } from "../policy/random.ts";

const FOLDERS = ["activities", "api", "backends", "cli", "sandbox", "store", "tools", "workers", "workflows"];
/** By whatever way of Temporal's clients, in a workflow or outside. */
const STARTS =
  /\b(?:workflow\s*\.\s*(?:start|execute|signalWithStart|executeUpdateWithStart|startUpdateWithStart)|schedule\s*\.\s*create|startChild|executeChild|makeContinueAsNewFunc|WithStartWorkflowOperation|startWorkflowExecution|signalWithStartWorkflowExecution|executeMultiOperation)\s*[(<]/g;
/** How often each file starts one. A new place is looked at before it is counted here. */
const PLACES = {
  "api/session-start.ts": 1,
  "api/temporal-sessions.ts": 1,
  "api/temporal-workspaces.ts": 5,
  "workers/sweeps.ts": 1,
};

const files = FOLDERS.flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => path.posix.join(folder, name)),
);

test("workflows are started at these places and at no other", () => {
  const found = files.flatMap((file): [string, number][] => {
    const starts = readFileSync(file, "utf8").match(STARTS)?.length ?? 0;
    return starts === 0 ? [] : [[file, starts]];
  });

  expect(Object.fromEntries(found)).toEqual(PLACES);
});

test.each(Object.keys(PLACES))("%s names what it starts by ownWorkflowId, and writes no id by hand", (file) => {
  const source = readFileSync(file, "utf8");

  expect(source).toContain("ownWorkflowId(");
  expect(source).not.toMatch(/(?:workflowId|scheduleId)\s*[:=]\s*[`"']/);
  // Wherever an id is made, it is that function's; `session-start.ts` tries the session's own id first.
  const made = [...source.matchAll(/const (?:workflowId|id|ours) = ([^;\n]+)/g)].map(([, from = ""]) => from);
  expect(made.filter((from) => !/^(?:ownWorkflowId\(|sweepId\()/.test(from))).toEqual([]);
});

test("a session's id is the id of its own workflow only: what else is started carries a colon", () => {
  const random = createRandom(9);
  const characters = "abcXYZ019-_.:/ ";
  for (let round = 0; round < 5_000; round++) {
    const length = 1 + Math.floor(random() * 20);
    const id = Array.from({ length }, () => characters[Math.floor(random() * characters.length)]).join("");
    for (const kind of OWN_WORKFLOWS) {
      expect(SessionId.safeParse(ownWorkflowId(kind, id, id)).success).toBe(false);
      expect(SessionId.safeParse(`${ownWorkflowId(kind, id, id)}-2026-12-01T00:00:00Z`).success).toBe(false);
    }
  }
  for (const id of ["purge-v2", "keep-kk", "perdure-sandbox-sweep", "perdure", "sweep"]) {
    expect(SessionId.safeParse(id).success).toBe(true); // They are ids like all others, and collide with nothing.
  }
});

test("two things that are done at once for two sessions never have one id", () => {
  const seen = new Map<string, string>();
  const names = ["a", "a:b", "b", "", ":"].filter((name) => SessionId.safeParse(name).success);
  for (const kind of OWN_WORKFLOWS) {
    for (const name of names) {
      for (const scope of ["s1", "s2"]) {
        const id = ownWorkflowId(kind, name, scope);
        expect(seen.has(id), id).toBe(false);
        seen.set(id, name);
      }
    }
  }
});
