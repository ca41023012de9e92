/** Calls and policies for the policy's tests: what does not matter to a test is in here. */
import { Policy, type PolicyAction } from "../../contract/policy.ts";
import { type CallToJudge, judge, type Verdict } from "../../policy/policy.ts";

export function aCall(over: Partial<CallToJudge> = {}): CallToJudge {
  return { tool: "bash", arguments: {}, argumentKinds: {}, changesWorld: true, needsApproval: false, ...over };
}

/** A call of bash with this line. */
export function aCommand(command: unknown, over: Partial<CallToJudge> = {}): CallToJudge {
  return aCall({ arguments: { command }, argumentKinds: { command: "command", cwd: "path" }, ...over });
}

/** A call of a tool that has one argument, a path in the workspace /project. */
export function aPath(path: unknown, over: Partial<CallToJudge> = {}): CallToJudge {
  return aCall({
    tool: "read_file",
    arguments: { path },
    argumentKinds: { path: "path" },
    workspace: "/project",
    changesWorld: false,
    ...over,
  });
}

/** `"deny rm *"`: the action, and a pattern for bash's command. */
export type CommandRule = `${PolicyAction} ${string}`;

export function commandPolicy(...rules: readonly CommandRule[]): Policy {
  return Policy.parse({
    rules: rules.map((rule) => {
      const [action = ""] = rule.split(" ", 1);
      return { tool: "bash", arguments: { command: rule.slice(action.length + 1) }, action };
    }),
  });
}

export function judgeCommand(line: string, ...rules: readonly CommandRule[]): Verdict {
  return judge(commandPolicy(...rules), aCommand(line));
}

/** Nothing of it is deleted, a few things are allowed, and everything else asks. */
export const GUARDED: readonly CommandRule[] = [
  "deny rm *",
  "allow git *",
  "allow echo *",
  "allow ls *",
  "allow cat *",
];
