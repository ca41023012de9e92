/** All activities of a worker, made over its dependencies. */
import {
  createGiveUpCommand,
  createRunCallerCommand,
  type GiveUpCommand,
  type RunCallerCommand,
} from "./caller-command.ts";
import { createRunStep, type RunStep, type RunStepDeps } from "./run-step.ts";
import { createRunTool, type RunTool } from "./run-tool.ts";
import { createSandboxUpkeep, type SandboxUpkeep } from "./sandbox-upkeep.ts";
import { createServeTerminal, type ServeTerminal } from "./serve-terminal.ts";
import { createServeWorkspace, type ServeWorkspace, type ServeWorkspaceDeps } from "./serve-workspace.ts";
import { createSessionEnds, type SessionEnds } from "./session-ends.ts";
import { createUploadArtifacts, type UploadArtifacts } from "./upload-artifacts.ts";

export interface Activities extends SessionEnds, SandboxUpkeep {
  runStep: RunStep;
  runTool: RunTool;
  uploadArtifacts: UploadArtifacts;
  serveWorkspace: ServeWorkspace;
  serveTerminal: ServeTerminal;
  runCallerCommand: RunCallerCommand;
  giveUpCommand: GiveUpCommand;
}

export function createActivities(deps: RunStepDeps & ServeWorkspaceDeps): Activities {
  return {
    runStep: createRunStep(deps),
    runTool: createRunTool(deps),
    uploadArtifacts: createUploadArtifacts(deps),
    serveWorkspace: createServeWorkspace(deps),
    serveTerminal: createServeTerminal(deps),
    runCallerCommand: createRunCallerCommand(deps),
    giveUpCommand: createGiveUpCommand(deps),
    ...createSessionEnds(deps),
    ...createSandboxUpkeep(deps),
  };
}
