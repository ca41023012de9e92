/** What a sandbox at Modal is asked for with. */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../contract/limits.ts";
import type { SandboxSpec } from "../../contract/sandbox.ts";
import { createParams, modalName, readTags } from "../../sandbox/modal-request.ts";

const HOUR_MS = 3_600_000;
const ask = (spec: SandboxSpec, lifeMs = HOUR_MS) =>
  createParams({ id: "sbx_1", owner: "me", spec, lifeMs, now: 1_700_000_000_000 });

describe("names", () => {
  test("are the same for the same sandbox, and others for others", () => {
    expect(modalName("sbx_1", "me")).toBe(modalName("sbx_1", "me"));
    expect(modalName("sbx_1", "me")).not.toBe(modalName("sbx_1", "you"));
    expect(modalName("sbx_1", "me")).not.toBe(modalName("sbx_2", "me"));
  });

  test("are ones that Modal takes, and told apart at their ends, however long an id is", () => {
    const long = `sbx_${"a".repeat(99)}` as const;

    expect(modalName(`${long}x`, "me")).toMatch(/^[A-Za-z0-9_.-]{1,63}$/);
    expect(modalName(`${long}x`, "me")).not.toBe(modalName(`${long}y`, "me"));
  });

  test("an id that is none is denied", () => {
    expect(() => modalName("sbx_../x" as "sbx_1", "me")).toThrow(expect.objectContaining({ kind: "denied" }));
  });
});

describe("time limits", () => {
  test("are whole seconds, rounded up, and the idle limit leaves room for our own stop", () => {
    expect(ask({ idleTimeoutMs: 1_001 }, 5_000_001)).toMatchObject({ timeoutMs: 5_001_000, idleTimeoutMs: 62_000 });
  });

  test("without any: a default of each", () => {
    expect(ask({}).idleTimeoutMs).toBe(LIMITS.sandboxIdleMs.default + LIMITS.modalIdleMarginMs);
  });

  test("are no longer than Modal allows, and idle no longer than alive", () => {
    expect(ask({ idleTimeoutMs: 30 * 24 * HOUR_MS }, 48 * HOUR_MS)).toMatchObject({
      ...{ timeoutMs: 24 * HOUR_MS, idleTimeoutMs: 24 * HOUR_MS },
    });
  });
});

describe("network", () => {
  test.each<[string, SandboxSpec, object]>([
    ["none is blocked", {}, { blockNetwork: true }],
    ["an empty list is blocked", { network: { allow: [] } }, { blockNetwork: true }],
    ["none with ports lets in, not out", { ports: [80] }, { outboundCidrAllowlist: [], encryptedPorts: [80] }],
    [
      "hosts by name",
      { network: { allow: ["a.example", "*.b.example"] } },
      { outboundDomainAllowlist: ["a.example", "*.b.example"] },
    ],
    [
      "port 443 goes without saying",
      { network: { allow: ["a.example:443"] } },
      { outboundDomainAllowlist: ["a.example"] },
    ],
  ])("%s", (_what, spec, expected) => {
    const { blockNetwork, outboundCidrAllowlist, outboundDomainAllowlist, encryptedPorts } = ask(spec);
    const asked = { blockNetwork, outboundCidrAllowlist, outboundDomainAllowlist, encryptedPorts };

    expect(JSON.parse(JSON.stringify(asked))).toEqual(expected);
  });

  test.each(["a.example:80", "10.0.0.1", "10.0.0.1:443", "[::1]", "[::1]:443"])(
    "%s is refused in words that name it",
    (host) => {
      expect(() => ask({ network: { allow: ["a.example", host] } })).toThrow(
        expect.objectContaining({ kind: "failed", message: expect.stringContaining(host) }),
      );
    },
  );
});

describe("tags", () => {
  test("say whose it is and when it was made", () => {
    expect(readTags(ask({}).tags ?? {})).toEqual({ id: "sbx_1", madeAt: 1_700_000_000_000 });
  });

  test("of others are no sandbox of ours, and a broken time is none", () => {
    expect(readTags({})).toBeUndefined();
    expect(readTags({ perdure_sandbox: "../x" })).toBeUndefined();
    expect(readTags({ perdure_sandbox: "sbx_1", perdure_made_at: "soon" })).toEqual({ id: "sbx_1", madeAt: undefined });
  });
});
