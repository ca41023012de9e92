/** The docker provider on a real engine: the one that answers, or one that is started for it. Skipped, with the reason, where neither can be. */
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { createDockerProvider } from "../../sandbox/docker.ts";
import { BUSYBOX_IMAGE, hasImage, whichEngine } from "../support/docker-engine.ts";
import { run, text } from "./commands.ts";
import { describeSandboxProvider } from "./conformance.ts";
import { describeDocker } from "./docker-cases.ts";
import { killsByDocker } from "./docker-kills.ts";
import { describeDockerNetwork } from "./docker-network-cases.ts";
import { engineOfFile } from "./docker-sandbox.ts";

const which = await whichEngine();
const reason = typeof which === "object" ? which.reason : undefined;

if (reason !== undefined) {
  test.skip(`the docker provider on a real engine: ${reason}`, () => undefined);
} else {
  const options = engineOfFile();

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
    if (process.getuid?.() === 0) describeDockerNetwork(options);
    else test.skip("a container with an allow-list: entering its network takes root", () => undefined);

    test("an image that holds nothing but BusyBox is enough", { timeout: 60_000 }, async ({ skip }) => {
      const given = await options(BUSYBOX_IMAGE);
      skip(!(await hasImage(given.engine ?? "", BUSYBOX_IMAGE)), "this machine has no static busybox to make one of");
      const provider = createDockerProvider(given);
      await using sandbox = await provider.open("sbx_busybox");
      await run(
        sandbox,
        "mkdir -p a/b empty; echo one > 'a/b/two\nlines'; ln -s a/b link; echo x > same; ln same other",
      );
      const scanned = await sandbox.scan({ skip: () => false, max: 100 });
      const paths = scanned.map(({ path }) => path);
      const packed = Buffer.concat(await (await sandbox.pack(paths)).toArray());
      await sandbox.removeFile("a");
      await sandbox.unpack(Readable.from([packed]));

      expect(paths).toEqual(["a", "a/b", "a/b/two\nlines", "empty", "link", "other", "same"]);
      expect(text(await sandbox.readFile("a/b/two\nlines"))).toBe("one\n");
      expect(text((await run(sandbox, "cat other same; readlink link")).stdout)).toBe("x\nx\na/b\n");
      expect((await run(sandbox, "sleep 30", { timeoutMs: 200 })).end).toMatchObject({ ended: "timed_out" });
      await provider.remove("sbx_busybox");
    });
  });
}
