/** For short workflows that touch a session's sandbox: done by whichever worker reaches it. */
import type { Reachable } from "./proxies.ts";
import { type BesideOptions, SandboxRoute } from "./sandbox-route.ts";

/** Any worker is asked first; the one of the sandbox's host when it lives on another. Tried a bounded number of times. */
export function atSandbox<T>(work: (activities: Reachable) => Promise<T>, options?: BesideOptions): Promise<T> {
  return new SandboxRoute().runBeside(work, options);
}
