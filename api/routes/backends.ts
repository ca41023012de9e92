/** Which backends there are, what they can, and whether the running workers can use them as they are set up. */
import { BACKENDS } from "../../backends/registry.ts";
import { BackendList, type BackendReport, type WorkerAnnouncement } from "../../contract/backends.ts";
import { runningWorkers } from "../../store/workers.ts";
import type { Dependencies } from "../dependencies.ts";
import { type Operation, operation } from "../operation.ts";

type Announced = WorkerAnnouncement["backends"][number];

export function backendOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "get",
      path: "/v1/backends",
      id: "listBackends",
      summary: "What an agent can run on",
      description:
        "Capabilities are fixed; models and the validation are what running workers found, which alone have the keys. A worker tries its backends soon after its start and every few minutes.",
      answers: { 200: { description: "All of them.", contentType: "application/json", schema: BackendList } },
      problems: ["STORAGE_ERROR"],
      handle: async () => {
        const workers = await runningWorkers(deps.store.database);
        const backends = BACKENDS.map(({ name, title, capabilities }): BackendReport => {
          const announced = workers.flatMap((worker) => worker.backends.filter((backend) => backend.name === name));
          return { name, title, capabilities, ...merged(announced), workers: announced.length };
        });
        return { status: 200, body: { backends } satisfies BackendList };
      },
    }),
  ];
}

/** What the best of the workers says, for any of them may get a step: valid before invalid before untried, then the newest. */
function merged(announced: readonly Announced[]): Pick<BackendReport, "defaultModel" | "models" | "validation"> {
  const [best] = announced.toSorted((a, b) => rank(b) - rank(a) || checkedAt(b) - checkedAt(a));
  return {
    defaultModel: best?.defaultModel ?? null,
    models: best?.models ?? [],
    validation: best?.validation ?? null,
  };
}

function rank({ validation }: Announced): number {
  if (validation === null) return 0;
  return validation.valid ? 2 : 1;
}

function checkedAt({ validation }: Announced): number {
  return validation?.checkedAt ?? 0;
}
