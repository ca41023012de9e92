/** The docker provider on the stand-in engine: the same cases as on a real one, but for those that need one, which are skipped. */
import { afterAll, describe, expect, test } from "vitest";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import { whichEngine } from "../support/docker-engine.ts";
import { type DockerStandIn, STAND_IN_IMAGE, startDockerStandIn } from "../support/docker-stand-in.ts";
import { whyNoStandIn } from "../support/docker-stand-in-container.ts";
import { FROM_START, newCallId, run, text } from "./commands.ts";
import { describeSandboxProvider } from "./conformance.ts";
import { describeDocker } from "./docker-cases.ts";
import { killsByDocker } from "./docker-kills.ts";
import { testOwner } from "./docker-sandbox.ts";

const reason = whyNoStandIn();

if (reason !== undefined) test.skip(`the docker provider on the stand-in engine: ${reason}`, () => undefined);
else {
  const owner = testOwner();
  let starting: Promise<DockerStandIn> | undefined;
  const options = async (image = STAND_IN_IMAGE): Promise<DockerProviderOptions> => {
    starting ??= startDockerStandIn();
    return { engine: (await starting).engine, owner, image };
  };
  afterAll(async () => (await starting)?.close(), 60_000);

  // The same cases run in docker.test.ts where a real engine is.
  const real = process.env["PERDURE_TEST_DOCKER"] === "stand-in" ? { reason: "asked for" } : await whichEngine();
  if (typeof real === "string") {
    test.skip("the docker provider's cases on the stand-in engine: a real engine is there (PERDURE_TEST_DOCKER=stand-in runs them)", () =>
      undefined);
  }

  describe.skipIf(typeof real === "string")("on the stand-in engine", () => {
    describeSandboxProvider("docker", async () => {
      const given = await options();
      return {
        provider: createDockerProvider(given),
        elsewhere: { provider: "docker", options: given },
        ...killsByDocker(given),
      };
    });
    describeDocker(options, { isReal: false });
  });

  describe("when the engine fails", { timeout: 30_000 }, () => {
    test("a connection that breaks off in mid-command costs nothing: it is followed on, and ran once", async () => {
      await using standIn = await ownStandIn();
      const provider = createDockerProvider({ engine: standIn.engine, owner, image: STAND_IN_IMAGE });
      await using sandbox = await provider.open("sbx_broken");

      const callId = newCallId();
      const command = "echo x >> effects; for i in 1 2 3 4; do echo $i; sleep 0.2; done";
      await sandbox.start({ callId, command, timeoutMs: 20_000 });
      let printed = "";
      for await (const event of sandbox.follow(callId, FROM_START, AbortSignal.timeout(20_000))) {
        if (event.type !== "output") continue;
        printed += text(event.bytes);
        if (/^[13]$/m.test(text(event.bytes))) standIn.dropConnections();
      }

      expect(printed).toBe("1\n2\n3\n4\n");
      expect(text(await sandbox.readFile("effects"))).toBe("x\n");
    });

    test("an engine that refuses is a failure in words, and the sandbox goes on when it is well again", async () => {
      await using standIn = await ownStandIn();
      const provider = createDockerProvider({ engine: standIn.engine, owner, image: STAND_IN_IMAGE });
      await using sandbox = await provider.open("sbx_refused");

      standIn.refuse({ path: /\/exec$/, status: 500, times: 1 });
      const refused = sandbox.stat(".");

      await expect(refused).rejects.toMatchObject({
        kind: "failed",
        message: expect.stringContaining("refused by the test"),
      });
      expect(text((await run(sandbox, "echo well")).stdout)).toBe("well\n");
    });

    test("a container whose making was not answered is adopted by the next try", async () => {
      await using standIn = await ownStandIn();
      const provider = createDockerProvider({ engine: standIn.engine, owner, image: STAND_IN_IMAGE });
      standIn.refuse({ path: /\/start$/, status: 500, times: 1 });

      await expect(provider.open("sbx_unanswered")).rejects.toMatchObject({ kind: "failed" });
      await using sandbox = await provider.open("sbx_unanswered");

      expect(text((await run(sandbox, "echo here")).stdout)).toBe("here\n");
      expect(await provider.list()).toHaveLength(1);
    });
  });
}

async function ownStandIn(): Promise<DockerStandIn & AsyncDisposable> {
  const standIn = await startDockerStandIn();
  return { ...standIn, [Symbol.asyncDispose]: () => standIn.close() };
}
