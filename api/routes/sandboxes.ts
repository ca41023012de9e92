/** Which sandbox providers the running workers have, what each can do there, and the sandbox of one session. */
import { SandboxList, type SandboxReport, SessionSandbox } from "../../contract/http.ts";
import { currentSandbox } from "../../store/sandboxes.ts";
import { getSession } from "../../store/sessions.ts";
import { listSnapshots } from "../../store/snapshots.ts";
import { runningWorkers } from "../../store/workers.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";

const JSON_TYPE = "application/json";

export function sandboxOperations(deps: Dependencies): readonly Operation[] {
  return [listOperation(deps), getOperation(deps)];
}

function listOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sandboxes",
    id: "listSandboxProviders",
    summary: "Where commands can run",
    description: "What each running worker says of its sandbox providers: what they hold back and by what means.",
    answers: { 200: { description: "By host and provider.", contentType: JSON_TYPE, schema: SandboxList } },
    problems: ["STORAGE_ERROR"],
    handle: async () => {
      const workers = await runningWorkers(deps.store.database);
      const providers = workers.flatMap(({ host, sandboxes }) =>
        sandboxes.map((sandbox): SandboxReport => ({ host, ...sandbox })),
      );
      const seen = new Map(providers.map((report) => [`${report.host} ${report.name}`, report]));
      return { status: 200, body: { providers: [...seen.values()] } };
    },
  });
}

function getOperation(deps: Dependencies): Operation {
  return operation({
    method: "get",
    path: "/v1/sessions/{sessionId}/sandbox",
    id: "getSandbox",
    summary: "The session's sandbox and the snapshots of its workspace",
    params: SessionParams,
    answers: { 200: { description: "As the store knows it.", contentType: JSON_TYPE, schema: SessionSandbox } },
    problems: ["SESSION_NOT_FOUND", "STORAGE_ERROR"],
    handle: async ({ params }) => {
      const { database } = deps.store;
      const { id } = await getSession(database, params.sessionId);
      const [record, snapshots] = await Promise.all([currentSandbox(database, id), listSnapshots(database, id)]);
      const body: SessionSandbox = {
        sandbox: record
          ? {
              sandboxId: record.sandboxId,
              provider: record.provider,
              generation: record.generation,
              state: record.state,
              host: record.host === "" ? null : record.host,
              spec: record.spec,
              restoredFrom: record.restoredFrom,
              usedAt: record.usedAt,
            }
          : null,
        snapshots: snapshots.map(({ id: snapshotId, turnId, generation, files, bytes, storedBytes, madeAt }) => ({
          snapshotId,
          turnId,
          generation,
          files,
          bytes,
          storedBytes,
          madeAt,
        })),
      };
      return { status: 200, body };
    },
  });
}
