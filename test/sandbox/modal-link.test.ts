/** How a handle of a Modal sandbox holds on to it: time limits, a broken connection, a sandbox that is gone. */
import type { Sandbox as ModalSandbox } from "modal";
import { expect, test } from "vitest";
import { createModalLink } from "../../sandbox/modal-link.ts";
import { SandboxError } from "../../sandbox/provider.ts";

const NEVER = new Promise<never>(() => {});

class ClientError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, details: string) {
    super(`/a.b/C: ${details}`);
    this.code = code;
    this.details = details;
  }
}
const UNAVAILABLE = new ClientError(14, "no connection");
const UNAUTHENTICATED = new ClientError(16, "token expired");
const NOT_FOUND = new ClientError(5, "no such task");

/** A link over handles that are only counted; `poll` is what Modal says of the sandbox. */
function aLink({ poll = async () => null }: { poll?: () => Promise<number | null> } = {}) {
  const detached: number[] = [];
  const looks: number[] = [];
  let made = 0;
  const handle = (): ModalSandbox => {
    const number = made++;
    const poller = () => {
      looks.push(number);
      return poll();
    };
    return { number, poll: poller, detach: () => void detached.push(number) } as unknown as ModalSandbox;
  };
  return { detached, looks, link: createModalLink({ first: handle(), again: async () => handle() }) };
}
const numberOf = (handle: ModalSandbox): number => (handle as unknown as { number: number }).number;

test("what goes well is passed on, and Modal is not asked", async () => {
  const { link, looks } = aLink();

  expect(await link.use("try", async () => 7)).toBe(7);
  expect(looks).toEqual([]);
});

test("what never answers fails after its time, in words", async () => {
  const { link } = aLink();

  await expect(link.use("try", () => NEVER, 30)).rejects.toMatchObject({
    kind: "failed",
    message: expect.stringMatching(/in time/),
  });
});

test("what never answers because the sandbox is gone is lost, long before its time", async () => {
  const { link } = aLink({ poll: async () => 137 });

  await expect(link.use("try", () => NEVER, 60_000)).rejects.toMatchObject({ kind: "lost" });
  await expect(link.hold(NEVER)).rejects.toMatchObject({ kind: "lost" });
});

test("what never answers fails after its time also when Modal does not say whether the sandbox is there", async () => {
  const { link } = aLink({ poll: () => NEVER });

  await expect(link.failure(UNAVAILABLE, "try")).resolves.toMatchObject({ kind: "failed" });
});

test("a broken connection is replaced once, and the old one given back", async () => {
  const { link, detached } = aLink();
  const seen: number[] = [];

  const done = await link.use("try", async (handle) => {
    seen.push(numberOf(handle));
    if (seen.length === 1) throw UNAVAILABLE;
    return "well";
  });

  expect(done).toBe("well");
  expect(seen[1]).not.toBe(0);
  expect(detached).toEqual([0]);
});

test("a connection that stays broken is a failure in words that hold no path of the call", async () => {
  const { link } = aLink();
  let tries = 0;

  const failing = link.use("keep the sandbox", async () => {
    tries += 1;
    throw UNAVAILABLE;
  });

  await expect(failing).rejects.toMatchObject({
    ...{ name: "SandboxError", kind: "failed" },
    message: "Modal could not keep the sandbox: it cannot be reached (no connection)",
  });
  expect(tries).toBe(2);
});

test("a refusal is not tried again", async () => {
  const { link } = aLink();
  let tries = 0;

  const failing = link.use("try", async () => {
    tries += 1;
    throw UNAUTHENTICATED;
  });

  await expect(failing).rejects.toMatchObject({ kind: "failed", message: expect.stringMatching(/MODAL_TOKEN_ID/) });
  expect(tries).toBe(1);
});

test.each([
  ["it says that it has ended", async () => 0, UNAVAILABLE],
  ["it does not know it any more", () => Promise.reject(NOT_FOUND), NOT_FOUND],
])("an error of a sandbox is a loss when Modal is asked and %s", async (_what, poll, error) => {
  const { link } = aLink({ poll });

  await expect(link.use("try", () => Promise.reject(error))).rejects.toMatchObject({ kind: "lost" });
});

test("when Modal cannot be asked either, it is a failure and no loss", async () => {
  const { link } = aLink({ poll: () => Promise.reject(UNAVAILABLE) });

  await expect(link.use("try", () => Promise.reject(NOT_FOUND))).rejects.toMatchObject({ kind: "failed" });
  await expect(link.confirm()).resolves.toBeUndefined();
});

test("many errors at once are one question", async () => {
  const { link, looks } = aLink();

  await Promise.all(Array.from({ length: 20 }, () => link.failure(UNAVAILABLE, "try")));

  expect(looks).toHaveLength(1);
});

test("an error of ours is passed on as it is", async () => {
  const { link } = aLink();
  const ours = new SandboxError("too_large", "it is too large");

  await expect(link.use("try", () => Promise.reject(ours))).rejects.toBe(ours);
});

test("a closed link does nothing more, and what runs over it fails without a question", async () => {
  const { link, detached, looks } = aLink();
  const running = link.use("try", () => new Promise((_, reject) => setTimeout(() => reject(UNAVAILABLE), 20)));
  link.close();

  await expect(running).rejects.toMatchObject({ kind: "failed", message: expect.stringMatching(/given back/) });
  await expect(link.use("try", async () => 1)).rejects.toMatchObject({ kind: "failed" });
  expect(detached).toEqual([0]);
  expect(looks).toEqual([]);
});
