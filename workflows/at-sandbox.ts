/** For short workflows that touch a session's sandbox: done by whichever worker reaches it. */
import type { ActivityInterfaceFor } from "@temporalio/workflow";
import type { Activities } from "../activities/index.ts";
import { SandboxRoute } from "./sandbox-route.ts";

/** Any worker is asked first; the one of the sandbox's host when it lives on another. Tried a bounded number of times. */
export function atSandbox<T>(work: (activities: ActivityInterfaceFor<Activities>) => Promise<T>): Promise<T> {
  return new SandboxRoute().runBeside(work);
}
