/** The provider `modal`: the conformance suite over the stand-in, and over a real account where one is allowed for it. */
import { afterAll, describe, test } from "vitest";
import { createModalProvider, type ModalProviderOptions } from "../../sandbox/modal.ts";
import { placeProblem } from "../support/modal-place.ts";
import { modalUnderTest } from "../support/modal-provider.ts";
import { type ModalStandIn, startModalStandIn } from "../support/modal-stand-in.ts";
import { describeSandboxProvider } from "./conformance.ts";

const problem = await placeProblem();

if (problem !== undefined) {
  test.skip(`modal over its stand-in: ${problem}`, () => {});
} else {
  let standIn: ModalStandIn | undefined;
  afterAll(async () => await standIn?.[Symbol.asyncDispose]());
  describeSandboxProvider("modal", async () => {
    standIn = await startModalStandIn();
    return modalUnderTest(standIn);
  });
}

describe("a real account", () => {
  const { MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret, PERDURE_TEST_MODAL: isAllowed } = process.env;
  if (!tokenId || !tokenSecret || isAllowed !== "1") {
    test.skip("modal: set MODAL_TOKEN_ID, MODAL_TOKEN_SECRET and PERDURE_TEST_MODAL=1 to run the same cases there", () => {});
    return;
  }
  describeSandboxProvider(
    "modal, a real account",
    () => {
      const options: ModalProviderOptions = { tokenId, tokenSecret, app: "perdure-tests", owner: "perdure-tests" };
      return { provider: createModalProvider(options), elsewhere: { provider: "modal", options } };
    },
    { timeoutMs: 180_000 },
  );
});
