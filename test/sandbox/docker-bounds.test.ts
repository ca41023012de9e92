/** What a container may fill, on a real engine. Skipped, with the reason, where none can be. */
import { afterAll, test } from "vitest";
import { createDockerProvider } from "../../sandbox/docker.ts";
import { HOST_IMAGE, startTestEngine, type TestEngine, whichEngine } from "../support/docker-engine.ts";
import { describeDockerBounds } from "./docker-bound-cases.ts";
import { testOwner } from "./docker-cases.ts";

const which = await whichEngine();

if (typeof which === "object") test.skip(`what a container may fill: ${which.reason}`, () => undefined);
else {
  const owner = testOwner();
  let starting: Promise<TestEngine> | undefined;
  const options = async () => {
    starting ??= startTestEngine();
    const { engine } = await starting;
    if (engine === undefined) throw new Error("expected an engine");
    return { engine, owner, image: HOST_IMAGE };
  };
  describeDockerBounds(options);
  afterAll(async () => {
    const started = await starting;
    if (started?.engine === undefined) return;
    const provider = createDockerProvider(await options());
    for (const { id } of await provider.list()) await provider.remove(id);
    await started.close();
  }, 60_000);
}
