/** What can be asked of a thread, and what it answers. */

import type { OutputCheck, OutputNames } from "../backends/output-schema.ts";
import type { ArgumentPatterns, Policy, PolicyAction } from "../contract/policy.ts";
import type { CallToJudge, Fault, Verdict } from "../policy/policy.ts";
import type { CheckedArguments } from "../schemas/arguments.ts";
import type { ArgumentFault } from "../schemas/faults.ts";

type Schema = Readonly<Record<string, unknown>>;

export interface Remembered {
  readonly match: ArgumentPatterns;
  readonly action: Exclude<PolicyAction, "ask">;
}

export type Task =
  | { readonly type: "judge"; readonly policy: Policy; readonly call: CallToJudge }
  | { readonly type: "match"; readonly remembered: readonly Remembered[]; readonly call: CallToJudge }
  | { readonly type: "policy_faults"; readonly policy: Policy; readonly tools: readonly string[] }
  | {
      readonly type: "pattern_faults";
      readonly patterns: ArgumentPatterns;
      readonly kinds: CallToJudge["argumentKinds"];
    }
  | { readonly type: "schema_faults"; readonly schemas: readonly Schema[] }
  | { readonly type: "arguments"; readonly schema: Schema; readonly args: Schema }
  | { readonly type: "argument_faults"; readonly schema: Schema; readonly args: Schema }
  | { readonly type: "output"; readonly schema: Schema; readonly text: string; readonly names: OutputNames };

export interface Answers {
  readonly judge: Verdict;
  readonly match: readonly boolean[];
  readonly policy_faults: readonly Fault[];
  readonly pattern_faults: readonly Fault[];
  readonly schema_faults: readonly (string | undefined)[];
  readonly arguments: CheckedArguments;
  readonly argument_faults: readonly ArgumentFault[];
  readonly output: OutputCheck;
}
