/** Containers with an allow-list: what is on it is reached by the proxy, and nothing else is at all. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createDockerProvider, type DockerProviderOptions } from "../../sandbox/docker.ts";
import { run, text } from "./commands.ts";

/** On an engine of this host, by root: whoever calls it has looked at that. */
export function describeDockerNetwork(options: () => Promise<DockerProviderOptions>): void {
  test("a container reaches what its list names, and each decision is told", { timeout: 90_000 }, async () => {
    const networkFolder = mkdtempSync(path.join(os.tmpdir(), "perdure-docker-net-"));
    const server = createServer((_, response) => response.end("reached\n"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const provider = createDockerProvider({ ...(await options()), networkFolder });
    const id = "sbx_network";
    try {
      const sandbox = await provider.open(id, { network: { allow: [`127.0.0.1:${port}`] } });
      const asked = (to: string, by: string): string =>
        `printf 'GET http://${to}/ HTTP/1.1\\r\\nHost: ${to}\\r\\nConnection: close\\r\\n\\r\\n' | { exec 3<>/dev/tcp/127.0.0.1/${by} && cat >&3 && cat <&3; }`;

      const allowed = await run(sandbox, `bash -c "${asked(`127.0.0.1:${port}`, "3128").replaceAll('"', '\\"')}"`);
      const denied = await run(sandbox, `bash -c "${asked("127.0.0.1:1", "3128").replaceAll('"', '\\"')}"`);
      const around = await run(sandbox, `bash -c 'exec 3<>/dev/tcp/127.0.0.1/${port}'`);

      expect(provider.capabilities.network).toBe("allow-list");
      expect(text(allowed.stdout)).toMatch(/^HTTP\/1\.1 200[\s\S]*reached/);
      expect(text(denied.stdout)).toMatch(/^HTTP\/1\.1 403/);
      expect(around.end).not.toMatchObject({ exitCode: 0 });
      expect(text((await run(sandbox, "echo $HTTPS_PROXY")).stdout)).toBe("http://127.0.0.1:3128\n");
      const { decisions, next } = await sandbox.networkDecisions(0);
      expect(decisions.map(({ host, port: at, decision }) => [host, at, decision])).toEqual([
        ["127.0.0.1", port, "allow"],
        ["127.0.0.1", 1, "deny"],
      ]);
      expect((await sandbox.networkDecisions(next)).decisions).toEqual([]);
      await sandbox[Symbol.asyncDispose]();
    } finally {
      await provider.remove(id);
      server.close();
      rmSync(networkFolder, { recursive: true, force: true, maxRetries: 5 });
    }
  });
}
