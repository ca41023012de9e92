/** The workflows that a worker registers: what the bundle is made from. */
export { commandRequest } from "./command-request.ts";
export { idleSandbox } from "./idle-sandbox.ts";
export { keepWorkspace } from "./keep-workspace.ts";
export { purgeSession } from "./purge-session.ts";
export { session } from "./session.ts";
export { sweepSandboxes } from "./sweep-sandboxes.ts";
export { terminalRequest } from "./terminal-request.ts";
export { workspaceRequest } from "./workspace-request.ts";
