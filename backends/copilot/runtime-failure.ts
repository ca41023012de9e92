/** What goes wrong in the runtime itself, before it has asked the model. */
import { LIMITS } from "../../contract/limits.ts";
import { BackendError } from "../backend.ts";

/** The runtime has refused its work. With a state that was kept, one that is written anew may do. */
export class RuntimeFailure extends Error {
  override readonly name = "RuntimeFailure";

  constructor(cause: unknown) {
    super((cause instanceof Error ? cause.message : String(cause)).slice(0, LIMITS.providerWordsMax), { cause });
  }
}

const UNKNOWN_TOKEN = /not authenticated|no github oauth token|authenticat|unauthorized/i;

/** Leaves all other errors as they are. */
export function withoutRuntimeFailure(error: unknown): unknown {
  if (!(error instanceof RuntimeFailure)) return error;
  if (UNKNOWN_TOKEN.test(error.message)) {
    return new BackendError(
      "AUTH_INVALID",
      `GitHub does not accept the token, or cannot be reached with it; check COPILOT_GITHUB_TOKEN: ${error.message}`,
    );
  }
  return new BackendError("PROVIDER_ERROR", `the copilot runtime failed: ${error.message}`, { cause: error });
}
