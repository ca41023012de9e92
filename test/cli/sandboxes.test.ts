/** `perdure sandboxes` over the real API, and `--sandbox` of the commands that make a session. */
import { describe, expect, test } from "vitest";
import type { AnnouncedSandbox } from "../../contract/sandbox.ts";
import { announceWorker } from "../../store/workers.ts";
import { ApiWorld } from "../support/api-world.ts";
import { CommandRun } from "../support/command-run.ts";

const capabilities: AnnouncedSandbox["capabilities"] = {
  isolation: "namespaces",
  memory: "cgroup",
  cpu: "cgroup",
  processes: "cgroup",
  disk: "watched",
  network: "allow-list",
  images: false,
  terminal: true,
  tunnels: false,
  snapshots: "workspace",
  hostBound: true,
};
const bubblewrap: AnnouncedSandbox = {
  name: "bubblewrap",
  available: true,
  reason: null,
  isDefault: true,
  capabilities,
};
const modal: AnnouncedSandbox = {
  name: "modal",
  available: false,
  reason: "MODAL_TOKEN_ID is not set\u001b[2J",
  isDefault: false,
  capabilities: null,
};

async function perdure(sandboxes: readonly AnnouncedSandbox[], ...args: readonly string[]) {
  await using world = await ApiWorld.start();
  if (sandboxes.length > 0) {
    const announcement = { host: "h1", tools: [], backends: [], sandboxes: [...sandboxes] };
    await announceWorker(world.store.database, { id: "w", announcement });
  }
  await using run = new CommandRun([...args, "--url", world.url]);
  return await run.ended;
}

describe("perdure sandboxes", () => {
  test("says what each provider holds back, and why one cannot be used, with nothing that a terminal acts on", async () => {
    const { stdout, exitCode } = await perdure([bubblewrap, modal], "sandboxes");

    expect(stdout).toMatch(/^PROVIDER +HOST +STATE +ISOLATION +MEMORY +PROCESSES +DISK +NETWORK\n/);
    expect(stdout).toMatch(/^bubblewrap +h1 +default +namespaces +cgroup +cgroup +watched +allow-list\n/m);
    expect(stdout).toMatch(/^modal +h1 +not usable .*\n {2}MODAL_TOKEN_ID is not set␛\[2J\n/m);
    expect(exitCode).toBe(0);
  });

  test("--json prints one line for each, as the API has it", async () => {
    const { stdout } = await perdure([bubblewrap, modal], "sandboxes", "--json");

    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line) as AnnouncedSandbox)).toMatchObject([bubblewrap, { name: "modal" }]);
  });

  test("without a worker it says that nobody can say", async () => {
    expect((await perdure([], "sandboxes")).stdout).toMatch(/^No worker runs/);
  });

  test("a provider that there is not is refused before anything is asked", async () => {
    const { stderr, exitCode } = await perdure([bubblewrap], "run", "hello", "--sandbox", "cloud");

    expect(stderr).toContain("Allowed choices are local, bubblewrap, docker, modal");
    expect(exitCode).toBe(2);
  });

  test("a provider that no worker can use is refused with its reason", async () => {
    const { stderr, exitCode } = await perdure([bubblewrap, modal], "run", "hello", "--sandbox", "modal");

    expect(stderr).toContain("modal cannot be used by the running workers: MODAL_TOKEN_ID is not set");
    expect(exitCode).not.toBe(0);
  });
});
