/** What is the provider `modal`'s own: images, snapshots, tags, tunnels, secrets, terminals, and what a handle holds. */
import { randomUUID } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { SandboxId } from "../../contract/ids.ts";
import { createModalProvider, detectModal, type ModalProviderOptions } from "../../sandbox/modal.ts";
import type { Terminal } from "../../sandbox/provider.ts";
import { placeProblem } from "../support/modal-place.ts";
import { modalOptions } from "../support/modal-provider.ts";
import { type ModalStandIn, startModalStandIn } from "../support/modal-stand-in.ts";
import { bytes, eventually, run, text } from "./commands.ts";

const problem = await placeProblem();

describe("detecting modal", () => {
  test("it works when both tokens are set", () => {
    expect(detectModal({ tokenId: "ak-1", tokenSecret: "as-1" })).toEqual({ works: true });
  });

  test.each([
    [{}, "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are not set"],
    [{ tokenId: "ak-1" }, "MODAL_TOKEN_SECRET is not set"],
    [{ tokenId: "", tokenSecret: "as-1" }, "MODAL_TOKEN_ID is not set"],
  ])("%j: the reason says what to set", (tokens, reason) => {
    expect(detectModal(tokens)).toEqual({ works: false, reason });
  });
});

describe.skipIf(problem)(`modal's own${problem ? `: ${problem}` : ""}`, { timeout: 60_000 }, () => {
  let standIn: ModalStandIn;
  const provider = (more: Partial<ModalProviderOptions> = {}) =>
    createModalProvider({ ...modalOptions(standIn), ...more });
  const newId = (): SandboxId => `sbx_${randomUUID()}`;
  const newest = () => {
    const found = standIn.sandboxes().at(-1);
    if (found === undefined) throw new Error("the stand-in has made no sandbox");
    return found;
  };

  beforeAll(async () => {
    standIn = await startModalStandIn({ secrets: { deploy: { DEPLOY_KEY: "k-1" }, other: { OTHER: "o" } } });
  });
  afterEach(async () => {
    standIn.faults.forget();
    while (await standIn.kill());
  });
  afterAll(async () => await standIn[Symbol.asyncDispose]());

  test("a sandbox is asked for with its limits, in whole seconds, and with what its commands may see", async () => {
    const spec = { cpu: 0.5, memoryMiB: 512, idleTimeoutMs: 90_500, environment: { GREETING: "hello" } };
    await using sandbox = await provider({ lifeMs: 3_600_500 }).open(newId(), spec);

    const { definition } = newest();
    expect(definition).toMatchObject({ timeoutSecs: 3_601, idleTimeoutSecs: 151 });
    expect(definition.resources).toMatchObject({ milliCpu: 500, milliCpuMax: 500, memoryMb: 512, memoryMbMax: 512 });
    expect(definition.networkAccess).toMatchObject({ networkAccessType: 2 });
    expect(text((await run(sandbox, 'echo "$GREETING $HOME $PWD"')).stdout)).toBe("hello /workspace /workspace\n");
  });

  test("a sandbox with allowed hosts is asked for with them", async () => {
    await using _sandbox = await provider().open(newId(), { network: { allow: ["example.com", "*.example.org:443"] } });

    expect(newest().definition.networkAccess).toMatchObject({
      ...{ networkAccessType: 3, allowedDomains: ["example.com", "*.example.org"], allowedCidrs: [] },
    });
  });

  test("hosts that Modal cannot hold to are refused in words before anything is made", async () => {
    const made = standIn.sandboxes().length;
    for (const host of ["example.com:8080", "203.0.113.7", "203.0.113.7:443", "[2001:db8::1]:443"]) {
      const opening = provider().open(newId(), { network: { allow: [host] } });
      await expect(opening).rejects.toMatchObject({ kind: "failed", message: expect.stringContaining(host) });
    }
    expect(standIn.sandboxes()).toHaveLength(made);
  });

  test("an image that cannot be had is a failure in its own words", async () => {
    await expect(provider().open(newId(), { image: "no-such-image:1" })).rejects.toMatchObject({
      kind: "failed",
      message: expect.stringMatching(/no such image/),
    });
  });

  test("its own sandboxes are listed with their ids and ages, those of others and ended ones are not", async () => {
    const [mine, ended, another] = [newId(), newId(), newId()];
    const before = Date.now();
    await using _mine = await provider({ owner: "me" }).open(mine);
    await using _ended = await provider({ owner: "me" }).open(ended);
    await using _another = await provider({ owner: "somebody else" }).open(another);
    await provider({ owner: "me" }).remove(ended);

    const listed = await provider({ owner: "me" }).list();

    expect(listed).toEqual([{ id: mine, madeAt: expect.any(Number) }]);
    expect(listed[0]?.madeAt).toBeGreaterThanOrEqual(before);
  });

  test("two owners with the same id do not meet", async () => {
    const id = newId();
    await using one = await provider({ owner: "one" }).open(id);
    await using two = await provider({ owner: "two" }).open(id);
    await one.writeFile("whose", bytes("one"));

    expect(await two.stat("whose")).toBeUndefined();
    await provider({ owner: "two" }).remove(id);
    expect(text(await one.readFile("whose"))).toBe("one");
  });

  test("a sandbox that begins with another's image has all of its files, and its commands are its own", async () => {
    await using first = await provider().open(newId());
    await run(first, "mkdir -p deep; echo kept > deep/file; chmod 750 deep; ln -s file deep/link; echo out > /outside");
    const image = await first.snapshotImage?.();
    if (image === undefined) throw new Error("it gave no image");
    await run(first, "echo later > deep/file");

    await using next = await provider().open(newId(), {}, { image });

    expect(text((await run(next, "cat deep/link /outside; stat -c %a deep; readlink deep/link")).stdout)).toBe(
      "kept\nout\n750\nfile\n",
    );
  });

  test("an image of which Modal knows nothing is a failure", async () => {
    await expect(provider().open(newId(), {}, { image: "im-unknown" })).rejects.toMatchObject({ kind: "failed" });
  });

  test("its ports are reached by the addresses that Modal gives, and nothing else is let out", async () => {
    await using sandbox = await provider().open(newId(), { ports: [8_080] });

    expect(await sandbox.tunnels?.()).toEqual({ 8080: "https://127.0.0.1:8080" });
    expect(newest().definition).toMatchObject({ openPorts: { ports: [{ port: 8_080, unencrypted: false }] } });
    expect(newest().definition.networkAccess).toMatchObject({
      networkAccessType: 3,
      allowedDomains: [],
      allowedCidrs: [],
    });
    await using again = (await provider().find(sandbox.id)) ?? sandbox;
    expect(await again.tunnels?.()).toEqual({ 8080: "https://127.0.0.1:8080" });
  });

  test("secrets of the account come by name; one that it does not have is a failure that names it", async () => {
    await using sandbox = await provider({ secretNames: ["deploy", "other"] }).open(newId());
    expect(text((await run(sandbox, 'echo "$DEPLOY_KEY $OTHER"')).stdout)).toBe("k-1 o\n");

    await expect(provider({ secretNames: ["missing"] }).open(newId())).rejects.toMatchObject({
      kind: "failed",
      message: expect.stringMatching(/secret 'missing' not found/),
    });
  });

  test("a terminal is a shell in the workspace that has a size and another size", async () => {
    await using sandbox = await provider().open(newId());
    const terminal = await opened(sandbox.openTerminal?.({ columns: 100, rows: 30 }));

    terminal.write(bytes("stty size; pwd; echo ü-$((1+1))\n"));
    await eventually(() => /30 100\r\n\/workspace\r\nü-2\r\n/.test(terminal.seen()), "the shell answers");
    terminal.resize(90, 20);
    terminal.resize(132, 50);
    await eventually(async () => {
      terminal.write(bytes("stty size\n"));
      return terminal.seen().includes("50 132\r\n");
    }, "the size is the last one");

    await terminal.close();
    await terminal.ended;
  });

  test("closing a terminal ends what was started in it, in whatever session", async () => {
    await using sandbox = await provider().open(newId());
    const terminal = await opened(sandbox.openTerminal?.({ columns: 80, rows: 24 }));
    terminal.write(
      bytes("setsid sh -c 'echo $$ > one; exec sleep 60' & (trap '' HUP TERM; echo $BASHPID > two; sleep 60) &\n"),
    );
    const isThere = async (file: string) => ((await sandbox.stat(file))?.bytes ?? 0) > 0;
    await eventually(async () => (await isThere("one")) && (await isThere("two")), "both run");

    await terminal.close();
    await terminal.close();

    const alive = "for one in $(cat one two); do kill -0 $one 2>/dev/null && echo $one; done; true";
    await eventually(async () => (await run(sandbox, alive)).stdout.length === 0, "both are gone");
  });

  test("a terminal that its worker left is ended by its mark", async () => {
    await using sandbox = await provider().open(newId());
    const terminal = await opened(sandbox.openTerminal?.({ columns: 80, rows: 24, mark: "term_left" }));
    terminal.write(bytes("echo begun-$((1+1))\n"));
    await eventually(() => terminal.seen().includes("begun-2"), "the shell answers");

    await sandbox.endTerminal?.("term_left");
    await sandbox.endTerminal?.("term_left");

    await terminal.ended;
  });

  test("a terminal ends with its shell and with its sandbox", async () => {
    await using sandbox = await provider().open(newId());
    const [one, two] = [
      await opened(sandbox.openTerminal?.({ columns: 80, rows: 24 })),
      await opened(sandbox.openTerminal?.({ columns: 80, rows: 24 })),
    ];

    one.write(bytes("exit\n"));
    await one.ended;
    await standIn.kill();

    await expect(two.ended).rejects.toMatchObject({ kind: "lost" });
    await two.close();
  });

  test("two hundred handles, opened and given back, leave nothing open", async () => {
    const id = newId();
    const one = provider();
    await using first = await one.open(id);
    await first.stat(".");
    const sockets = () => process.getActiveResourcesInfo().filter((name) => /TCP|HTTP/i.test(name)).length;
    const before = sockets();
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const heap = () => {
      collect();
      return process.memoryUsage().heapUsed;
    };
    const openAndClose = async (times: number) => {
      for (let left = times; left > 0; left -= 1) {
        await using handle = await one.find(id);
        await handle?.stat(".");
      }
    };
    await openAndClose(20);
    const filled = heap();

    await Promise.all(Array.from({ length: 6 }, () => openAndClose(30)));

    await eventually(() => sockets() <= before, "no more sockets are open than before");
    expect(heap() - filled).toBeLessThan(15 * 1024 * 1024);
  });
});

/** A terminal with all that it has printed. */
async function opened(opening: Promise<Terminal> | undefined) {
  const terminal = await opening;
  if (terminal === undefined) throw new Error("there are no terminals");
  const printed: Uint8Array[] = [];
  const ended = (async () => {
    for await (const some of terminal.output) printed.push(some);
  })();
  ended.catch(() => {}); // A test that cares waits for it.
  return { ...terminal, seen: () => text(Buffer.concat(printed)), ended };
}
