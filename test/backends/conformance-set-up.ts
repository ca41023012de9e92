/** Part of the conformance suite: the provider's key, its models, and what is said about a wrong set-up. */
import { describe, expect, test } from "vitest";
import type { BackendError, SteppedBackend } from "../../backends/backend.ts";
import { type BackendRecipe, makeBackend } from "./backend-process.ts";
import { failureOf, type Given } from "./backend-under-test.ts";
import { KEY, scripted } from "./played-session.ts";

export function describeSetUp(given: () => Given): void {
  describe("set up", () => {
    test("rightly, it is valid, lists the provider's models and says its registered name", async () => {
      const { backend, entry } = given();

      expect(await backend.validate()).toEqual({ valid: true, errors: [] });
      expect(await backend.listModels()).toContainEqual({ id: "scripted-model" });
      expect(backend.name).toBe(entry.name);
    });

    test("rightly, it sends the key to the provider, and keeps it out of what it gives back", async () => {
      const { run, session, seen } = given();
      const played = session();

      await played.turn(run, scripted({ tools: [{ name: "look" }] }, { text: "ok" }));

      const { key, body } = seen().at(-1) ?? {};
      expect(key).toBe(KEY);
      expect(JSON.stringify([body, played.transcript, played.state ?? null])).not.toContain(KEY);
    });

    test("with a wrong key it says so, at validation and in the step", async () => {
      const { wrongKey } = given();

      const [validation, error] = await both(given(), wrongKey);

      expect(validation).toMatchObject({ valid: false, errors: [{ code: "AUTH_INVALID" }] });
      expect(error).toMatchObject({ code: "AUTH_INVALID", retryable: false });
      expect(`${JSON.stringify(validation)} ${error.message}`).not.toContain("sk-wrong");
    });

    test("without a key it says which variables to set, at validation and in the step", async () => {
      const { noKey, keyVariables } = given();

      const [validation, error] = await both(given(), noKey);

      expect(validation).toMatchObject({ valid: false, errors: [{ code: "AUTH_REQUIRED" }] });
      expect(error).toMatchObject({ code: "AUTH_REQUIRED", retryable: false });
      for (const variable of keyVariables) {
        expect(validation.errors[0]?.message).toContain(variable);
        expect(error.message).toContain(variable);
      }
    });

    test("without a key it can list no models, and says why", async () => {
      const { noKey } = given();

      const error = await withBackend(noKey, (backend) => failureOf(backend.listModels()));

      expect(error.code).toBe("AUTH_REQUIRED");
    });

    test("with a provider that cannot be reached it says so, and the step may be tried again", async () => {
      const { nowhere } = given();

      const [validation, error] = await both(given(), nowhere);

      expect(validation).toMatchObject({ valid: false, errors: [{ code: "NETWORK" }] });
      expect(error).toMatchObject({ code: "NETWORK", retryable: true });
    });
  });
}

type Validation = Awaited<ReturnType<SteppedBackend["validate"]>>;

/** What a backend says at validation, and in a step. */
function both({ session }: Given, recipe: BackendRecipe): Promise<[Validation, BackendError]> {
  return withBackend(recipe, async (backend) => {
    const played = session();
    played.say(scripted({ text: "never" }));
    return [await backend.validate(), await failureOf(played.step(backend.step.bind(backend)))];
  });
}

async function withBackend<T>(recipe: BackendRecipe, use: (backend: SteppedBackend) => Promise<T>): Promise<T> {
  const backend = await makeBackend(recipe);
  try {
    return await use(backend);
  } finally {
    await backend[Symbol.asyncDispose]?.();
  }
}
