/** The program of a thread: does one task at a time and answers it. Whoever started it ends it when it takes too long. */
import { parentPort } from "node:worker_threads";
import { createOutputValidators } from "../backends/output-schema.ts";
import { judge, matchesArguments, patternFaults, policyFaults } from "../policy/policy.ts";
import { checkedArguments } from "../schemas/arguments.ts";
import { argumentFaults, schemaFaults } from "../schemas/faults.ts";
import type { ThreadMessage } from "./pool.ts";
import type { Answers, Task } from "./tasks.ts";

const validators = createOutputValidators();

function answered(task: Task): Answers[keyof Answers] {
  switch (task.type) {
    case "judge":
      return judge(task.policy, task.call);
    case "match":
      return task.remembered.map(({ match, action }) => matchesArguments(match, task.call, action));
    case "policy_faults":
      return policyFaults(task.policy, task.tools);
    case "pattern_faults":
      return patternFaults(task.patterns, task.kinds);
    case "schema_faults":
      return schemaFaults(task.schemas);
    case "arguments":
      return checkedArguments(task.schema, task.args);
    case "argument_faults":
      return argumentFaults(task.schema, task.args);
    case "output":
      return validators(task.schema, task.names)(task.text);
    default: {
      const unreachable: never = task;
      return unreachable;
    }
  }
}

function say(message: ThreadMessage): void {
  parentPort?.postMessage(message);
}

parentPort?.on("message", (task: Task) => say({ type: "answer", answer: answered(task) }));
say({ type: "ready" });
