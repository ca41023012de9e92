/** The workflows that a worker registers: what the bundle is made from. */
export { purgeSession } from "./purge-session.ts";
export { session } from "./session.ts";
export { workspaceRequest } from "./workspace-request.ts";
