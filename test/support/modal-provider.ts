/** The provider `modal` over the stand-in, for the conformance suite: with the kills that come from outside. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createModalProvider, type ModalProviderOptions } from "../../sandbox/modal.ts";
import { modalName } from "../../sandbox/modal-request.ts";
import type { ProviderUnderTest } from "../sandbox/conformance.ts";
import type { ModalStandIn } from "./modal-stand-in.ts";

export const MODAL_OWNER = "the tests";

export function modalOptions({ url, tokenId, tokenSecret }: ModalStandIn): ModalProviderOptions {
  return { tokenId, tokenSecret, serverUrl: url, app: "perdure-tests", owner: MODAL_OWNER };
}

export function modalUnderTest(standIn: ModalStandIn): ProviderUnderTest {
  const options = modalOptions(standIn);
  const placeOf = async (id: `sbx_${string}`) => {
    const name = modalName(id, MODAL_OWNER);
    const found = standIn.sandboxes().find(({ definition, result }) => definition.name === name && !result);
    if (!found) throw new Error(`the stand-in runs no sandbox ${name}`);
    return await found.place;
  };
  /** The claim holds the supervisor's process id, as it is inside. */
  const killClaimed = async (id: `sbx_${string}`, callId: string, sign: "" | "-") => {
    const script = 'read -r pid _ <"/perdure/calls/$1/go" && kill -KILL "$2$pid"';
    const { file, arguments: words } = (await placeOf(id)).enter(["sh", "-c", script, "perdure", callId, sign], "/");
    await promisify(execFile)(file, words);
  };
  return {
    provider: createModalProvider(options),
    elsewhere: { provider: "modal", options },
    killSandbox: async (id) => void (await standIn.kill(modalName(id, MODAL_OWNER))),
    killCommand: (sandbox, callId) => killClaimed(sandbox.id, callId, "-"),
    killSupervisor: (sandbox, callId) => killClaimed(sandbox.id, callId, ""),
  };
}
