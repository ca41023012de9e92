/** The Modal SDK as one worker uses it: loaded when it is first needed, one client and one app, every call bounded in time. */
import type {
  App,
  Image,
  ModalClient,
  ModalClientParams,
  Sandbox as ModalSandbox,
  SandboxCreateParams,
  Secret,
} from "modal";
import { LIMITS } from "../contract/limits.ts";
import { isMissing, isTaken, modalError } from "./modal-errors.ts";
import { SandboxError } from "./provider.ts";

export interface ModalAccount {
  readonly tokenId: string;
  readonly tokenSecret: string;
  /** Default: Modal's own, or MODAL_SERVER_URL. */
  readonly serverUrl?: string;
  /** Under which its sandboxes are found; made when it is missing. */
  readonly app: string;
  /** Modal's environment. Default: the account's. */
  readonly environment?: string;
}

/** What one asks Modal for. All of it throws SandboxError `failed` in words, unless it says another thing. */
export interface ModalService {
  handle(modalId: string): Promise<ModalSandbox>;
  /** The newest sandbox of that name, running or ended. */
  named(name: string): Promise<ModalSandbox | undefined>;
  hasEnded(handle: ModalSandbox): Promise<boolean>;
  /** `taken` when one of that name runs. */
  create(
    from: ImageSource,
    params: SandboxCreateParams,
    secretNames: readonly string[],
  ): Promise<ModalSandbox | "taken">;
  /** Resolves when nothing runs in it any more. */
  terminate(handle: ModalSandbox): Promise<void>;
  /** Tags of all that run and bear these. */
  tagsOf(tags: Readonly<Record<string, string>>): Promise<readonly Readonly<Record<string, string>>[]>;
}

export type ImageSource = { readonly registry: string } | { readonly imageId: string };

const TAGS_AT_ONCE = 8;
type Middleware = NonNullable<ModalClientParams["grpcMiddleware"]>[number];

interface Opened {
  readonly modal: ModalClient;
  readonly app: App;
}

export function createModalService(account: ModalAccount): ModalService {
  const where = account.environment === undefined ? {} : { environment: account.environment };
  const images = new Map<string, Image>();
  let client: Promise<ModalClient> | undefined;
  let app: Promise<App> | undefined;

  async function opened(): Promise<Opened> {
    client ??= connect(account);
    const modal = await client;
    // A failure is not kept: the next one asks again.
    app ??= modal.apps.fromName(account.app, { createIfMissing: true, ...where }).catch((error: unknown) => {
      app = undefined;
      throw error;
    });
    return { modal, app: await app };
  }

  async function ask<T>(what: string, work: (opened: Opened) => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new SandboxError("failed", `Modal could not ${what}: it did not answer in time`);
      timer = setTimeout(() => reject(error), LIMITS.sandboxOpenMs);
    });
    try {
      return await Promise.race([opened().then(work), late]);
    } catch (error) {
      throw modalError(error, what);
    } finally {
      clearTimeout(timer);
    }
  }

  async function imageOf(from: ImageSource, { modal }: Opened): Promise<Image> {
    if ("imageId" in from) return await modal.images.fromId(from.imageId);
    // The same object, because it knows when it was built.
    const image = images.get(from.registry) ?? modal.images.fromRegistry(from.registry);
    images.set(from.registry, image);
    return image;
  }

  return {
    handle: (modalId) => ask("find the sandbox", ({ modal }) => modal.sandboxes.fromId(modalId)),
    named: (name) =>
      ask("look for the sandbox", async ({ modal }) => {
        try {
          return await modal.sandboxes.fromName(account.app, name, { includeTerminated: true, ...where });
        } catch (error) {
          if (isMissing(error)) return undefined;
          throw error;
        }
      }),
    hasEnded: (handle) =>
      ask("say whether the sandbox runs", async () => {
        try {
          return (await handle.poll()) !== null;
        } catch (error) {
          if (isMissing(error)) return true;
          throw error;
        }
      }),
    create: (from, params, secretNames) =>
      ask("make the sandbox", async (all) => {
        const secrets: Secret[] = [];
        for (const name of secretNames) secrets.push(await all.modal.secrets.fromName(name, where));
        const image = await imageOf(from, all);
        try {
          return await all.modal.sandboxes.create(all.app, image, {
            ...params,
            ...(secrets.length > 0 ? { secrets } : {}),
          });
        } catch (error) {
          if (isTaken(error)) return "taken";
          if (isMissing(error)) {
            // They may have been deleted there since they were made.
            images.clear();
            app = undefined;
          }
          throw error;
        }
      }),
    terminate: (handle) =>
      ask("end the sandbox", async () => {
        try {
          await handle.terminate({ wait: true });
        } catch (error) {
          if (!isMissing(error)) throw error;
        }
      }),
    tagsOf: (tags) =>
      ask("list the sandboxes", async ({ modal, app: { appId } }) => {
        const found: ModalSandbox[] = [];
        for await (const one of modal.sandboxes.list({ appId, tags: { ...tags } })) found.push(one);
        const read: Record<string, string>[] = [];
        for (let at = 0; at < found.length; at += TAGS_AT_ONCE) {
          const some = found.slice(at, at + TAGS_AT_ONCE);
          // One that has ended meanwhile has none.
          const all = some.map((one) =>
            one.getTags().catch((error: unknown) => (isMissing(error) ? {} : raise(error))),
          );
          read.push(...(await Promise.all(all)));
        }
        return read;
      }),
  };
}

async function connect(account: ModalAccount): Promise<ModalClient> {
  const { ModalClient } = await import("modal");
  const { tokenId, tokenSecret, environment } = account;
  return withVariables(
    {
      // Where the server is, and that sandboxes are of the second kind, is read from the environment and from nowhere else.
      ...(account.serverUrl === undefined ? {} : { MODAL_SERVER_URL: account.serverUrl }),
      MODAL_SANDBOX_V2: "1",
    },
    () =>
      new ModalClient({
        ...{ tokenId, tokenSecret, logger: SILENT, grpcMiddleware: [boundInTime] },
        ...(environment === undefined ? {} : { environment }),
      }),
  );
}

/** What it would write to the console is said by its errors. */
const SILENT: NonNullable<ModalClientParams["logger"]> = { debug() {}, info() {}, warn() {}, error() {} };

const boundInTime: Middleware = async function* boundInTime(call, options) {
  const limit = AbortSignal.timeout(LIMITS.modalCallMs);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  return yield* call.next(call.request, { ...options, signal });
};

/** Sets variables for the length of one call that waits for nothing, so that nobody else sees them. */
function withVariables<T>(variables: Readonly<Record<string, string>>, work: () => T): T {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

function raise(error: unknown): never {
  throw error;
}
