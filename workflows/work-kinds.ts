/** Which kind of work each activity is, and so in whose slots it runs. An activity without a line here does not compile. */
import type { Activities } from "../activities/index.ts";
import type { WorkKind } from "../contract/task-queue.ts";

export const KIND_OF: Readonly<Record<keyof Activities, WorkKind>> = {
  runStep: "model",
  runTool: "command",
  // Made for the commands that wait for it.
  ensureSandbox: "command",
  runCallerCommand: "caller",
  serveTerminal: "terminal",
  // Of those that move much, whoever asks says "transfer".
  serveWorkspace: "look",
  snapshotWorkspace: "snapshot",
  stopIdleSandbox: "snapshot",
  uploadArtifacts: "upload",
  // Quick: nothing that lasts may hold it up.
  sweepSandboxes: "upkeep",
  listHostQueues: "upkeep",
  stopCalls: "upkeep",
  giveUpCommand: "upkeep",
  closeSession: "upkeep",
  purgeSession: "upkeep",
  endTurn: "upkeep",
  expireWait: "upkeep",
  recoverSession: "upkeep",
};
