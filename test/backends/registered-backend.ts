/** A backend of the registry under the conformance suite, at a scripted endpoint of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { SteppedBackend } from "../../backends/backend.ts";
import { findBackend } from "../../backends/registry.ts";
import type { ModelSettings } from "../../contract/agents.ts";
import { readConfig } from "../../contract/config.ts";
import { keyOf, type SeenRequest, startModelEndpoint } from "../support/model-endpoint.ts";
import { isModelCall, readConversation, type SeenConversation } from "../support/seen-conversation.ts";
import type { BackendRecipe } from "./backend-process.ts";
import type { BackendUnderTest, SeenCall, Wire } from "./backend-under-test.ts";
import { KEY } from "./played-session.ts";

export interface RegisteredOptions {
  readonly name: string;
  readonly wire: Wire;
  readonly modelSettings?: ModelSettings;
  /** The variables that point it at an endpoint, whose URL ends with /v1. */
  environment(url: string, key: string): Readonly<Record<string, string>>;
  /** The variables when nobody has set a key. */
  keyless(url: string): Readonly<Record<string, string>>;
  /** What the words about a missing key must name. */
  readonly keyVariables: readonly string[];
}

interface RegisteredRecipe {
  readonly name: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Makes it as a worker does, with a folder that is gone after it. */
export async function makeRegistered({ name, environment }: RegisteredRecipe): Promise<SteppedBackend> {
  const entry = findBackend(name);
  if (entry === undefined) throw new Error(`the registry has no backend ${name}`);
  const scratchDir = await mkdtemp(path.join(tmpdir(), "perdure-backend-"));
  const backend = await entry.create({ config: readConfig(environment), scratchDir, warn: () => undefined });
  const dispose = backend[Symbol.asyncDispose]?.bind(backend);
  backend[Symbol.asyncDispose] = async () => {
    await dispose?.();
    await rm(scratchDir, { recursive: true, force: true });
  };
  return backend;
}

export async function startRegistered(options: RegisteredOptions): Promise<BackendUnderTest> {
  const { name, wire, modelSettings = {}, keyVariables } = options;
  const entry = findBackend(name);
  if (entry === undefined) throw new Error(`the registry has no backend ${name}`);
  const endpoint = await startModelEndpoint({ key: KEY, bodiesKept: 500 });
  const recipe = (environment: Readonly<Record<string, string>>): BackendRecipe => ({
    module: import.meta.url,
    make: makeRegistered.name,
    options: { name, environment: { PERDURE_MODEL: "scripted-model", ...environment } } satisfies RegisteredRecipe,
  });
  return {
    entry,
    wire,
    modelSettings,
    keyVariables,
    recipe: recipe(options.environment(endpoint.url, KEY)),
    wrongKey: recipe(options.environment(endpoint.url, "sk-wrong-0123456789abcdef")),
    noKey: recipe(options.keyless(endpoint.url)),
    nowhere: recipe(options.environment("http://127.0.0.1:1/v1", KEY)),
    seen: () =>
      endpoint.requests
        .filter((request) => isModelCall(request.path) && request.raw !== undefined)
        .map((request) => new SeenRequestOfWire(request)),
    until: (condition, deadlineMs) => endpoint.until(condition, deadlineMs),
    [Symbol.asyncDispose]: () => endpoint.close(),
  };
}

/** Read when it is looked at: a condition that only counts requests must not parse them all. */
class SeenRequestOfWire implements SeenCall {
  readonly #request: SeenRequest;

  constructor(request: SeenRequest) {
    this.#request = request;
  }

  get conversation(): SeenConversation {
    return readConversation(this.#request.path, this.#request.body);
  }

  get body(): unknown {
    return this.#request.body;
  }

  get key(): string | undefined {
    return keyOf(this.#request.headers);
  }

  get closedEarlyAt(): number | undefined {
    return this.#request.closedEarlyAt;
  }
}
