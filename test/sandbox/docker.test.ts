/** The docker provider on a real engine: the one that answers, or one that is started for it. Skipped, with the reason, where neither can be. */
import { afterAll, describe, test } from "vitest";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import { HOST_IMAGE, startTestEngine, type TestEngine, whichEngine } from "../support/docker-engine.ts";
import { describeSandboxProvider } from "./conformance.ts";
import { describeDocker, testOwner } from "./docker-cases.ts";
import { killsByDocker } from "./docker-kills.ts";

const which = await whichEngine();
const reason = typeof which === "object" ? which.reason : undefined;

if (reason !== undefined) {
  test.skip(`the docker provider on a real engine: ${reason}`, () => undefined);
} else {
  const owner = testOwner();
  let starting: Promise<TestEngine> | undefined;
  const options = async (image = HOST_IMAGE): Promise<DockerProviderOptions> => {
    starting ??= startTestEngine();
    const started = await starting;
    if (started.engine === undefined) throw new Error(started.reason);
    return { engine: started.engine, owner, image };
  };
  afterAll(async () => {
    const started = await starting;
    if (started?.engine === undefined) return;
    const provider = createDockerProvider(await options());
    for (const { id } of await provider.list()) await provider.remove(id);
    await started.close();
  }, 60_000);

  describe(`on a real engine that ${which === "answers" ? "answers" : "is started for this"}`, () => {
    describeSandboxProvider("docker", async () => {
      const given = await options();
      return {
        provider: createDockerProvider(given),
        elsewhere: { provider: "docker", options: given },
        ...killsByDocker(given),
      };
    });
    describeDocker(options);
  });
}
