/** All activities of a worker, made over its dependencies. */
import { createRunStep, type RunStep, type RunStepDeps } from "./run-step.ts";
import { createRunTool, type RunTool } from "./run-tool.ts";
import { createServeWorkspace, type ServeWorkspace } from "./serve-workspace.ts";
import { createSessionEnds, type SessionEnds } from "./session-ends.ts";
import { createUploadArtifacts, type UploadArtifacts } from "./upload-artifacts.ts";

export interface Activities extends SessionEnds {
  runStep: RunStep;
  runTool: RunTool;
  uploadArtifacts: UploadArtifacts;
  serveWorkspace: ServeWorkspace;
}

export function createActivities(deps: RunStepDeps): Activities {
  return {
    runStep: createRunStep(deps),
    runTool: createRunTool(deps),
    uploadArtifacts: createUploadArtifacts(deps),
    serveWorkspace: createServeWorkspace(deps),
    ...createSessionEnds(deps),
  };
}
