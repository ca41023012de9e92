/** Programs that want out of a container, on a real engine. Skipped, with the reason, where none can be. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, test } from "vitest";
import { createDockerProvider } from "../../sandbox/docker.ts";
import { HOST_IMAGE, startTestEngine, type TestEngine, whichEngine } from "../support/docker-engine.ts";
import { testOwner } from "./docker-sandbox.ts";
import { describeHostile } from "./hostile-suite.ts";

const which = await whichEngine();
const reason =
  typeof which === "object"
    ? which.reason
    : process.getuid?.() === 0
      ? undefined
      : "the allow-list of a container takes root";

/** The supervisor is in the container, as its user: what may kill everything kills it too. */
const UNKNOWN = "it kills its supervisor, which is inside; the end is told as unknown, and the sandbox goes on";

if (reason !== undefined) test.skip(`hostile programs in docker: ${reason}`, () => undefined);
else {
  const root = mkdtempSync(path.join(os.tmpdir(), "perdure-docker-hostile-"));
  let started: TestEngine | undefined;
  describeHostile("docker", async () => {
    started = await startTestEngine();
    if (started.engine === undefined) throw new Error(started.reason);
    return {
      provider: createDockerProvider({
        engine: started.engine,
        owner: testOwner(),
        image: HOST_IMAGE,
        networkFolder: root,
      }),
      root,
      known: {
        "kill everything there is": UNKNOWN,
        "kill its own process group": UNKNOWN,
        "kill its parents one by one": UNKNOWN,
        "kill the supervisor through a traced init":
          "it ends its own container, as the user of all that is inside: told as lost",
      },
    };
  });
  afterAll(async () => {
    if (started?.engine !== undefined) await started.close();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  }, 60_000);
}
