/** A server on this machine, a workspace, and downloads from the one into the other. */
import { readdirSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { expect } from "vitest";
import { download } from "../../activities/download.ts";
import type { DownloadRules } from "../../activities/download-fetch.ts";
import { newId } from "../../contract/ids.ts";
import type { DownloadOrder, WorkspaceAnswer } from "../../contract/workspace.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import { temporaryStore } from "../store/store-builder.ts";

export interface Tried {
  readonly answer: WorkspaceAnswer | undefined;
  readonly error: unknown;
  /** Its folder on this machine. */
  readonly workspace: string;
}

export interface Circumstances {
  readonly path?: string;
  /** Default: the server may be reached. */
  readonly rules?: DownloadRules;
  readonly signal?: AbortSignal;
  readonly before?: (workspace: string) => void;
}

export interface DownloadWorkshop extends AsyncDisposable {
  readonly origin: string;
  /** An address that gives these bytes. */
  given(content: Buffer | string): string;
  served(listener: RequestListener): string;
  /** One download into a workspace of its own; nothing of it stays in transit. */
  tryDownload(order: Partial<DownloadOrder> & { readonly url: string }, of?: Circumstances): Promise<Tried>;
}

export async function aDownloadWorkshop(): Promise<DownloadWorkshop> {
  const store = await temporaryStore();
  const provider = createLocalProvider({ root: path.join(store.folder, "sandboxes") });
  const routes = new Map<string, RequestListener>();
  const server = createServer((request, response) => {
    const listener = routes.get(request.url ?? "");
    if (listener) listener(request, response);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const served = (listener: RequestListener): string => {
    const route = `/${newId("art")}`;
    routes.set(route, listener);
    return origin + route;
  };
  return {
    origin,
    served,
    given: (content) => served((_request, response) => response.end(content)),
    async tryDownload(order, of = {}) {
      await using sandbox = await provider.open(`sbx_${newId("ses")}-1`);
      const { workspace } = sandbox;
      of.before?.(workspace);
      const whole: DownloadOrder = { extract: false, timeoutMs: 5_000, ...order };
      const { id } = await store.transit.put(Buffer.from(JSON.stringify(whole)));
      const work = { path: of.path ?? "got", transit: id, signal: of.signal ?? new AbortController().signal };
      const downloads = of.rules ?? { allow: [`127.0.0.1:${port}`] };
      try {
        const answer = await download({ store, downloads }, sandbox, work);
        return { answer, error: undefined, workspace };
      } catch (error) {
        return { answer: undefined, error, workspace };
      } finally {
        await store.transit.remove(id);
        expect(readdirSync(path.join(store.folder, "transit"))).toEqual([]);
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(path.join(store.folder, "sandboxes"), { recursive: true, force: true });
      await store[Symbol.asyncDispose]();
    },
  };
}
