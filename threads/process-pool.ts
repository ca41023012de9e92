/** The threads of this process. They start with the first task that needs one. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Outcome, ThreadPool } from "./pool.ts";
import type { Answers, Task } from "./tasks.ts";

/** A release has been compiled: the program has the extension of this file. */
const PROGRAM = new URL(`./program${path.extname(fileURLToPath(import.meta.url))}`, import.meta.url);

const pool = new ThreadPool({ program: PROGRAM });

export function answerOf<Type extends Task["type"]>(
  task: Extract<Task, { readonly type: Type }>,
  key: string,
): Promise<Outcome<Answers[Type]>> {
  return pool.run<Answers[Type]>(task, key);
}
