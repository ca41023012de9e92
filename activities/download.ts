/** Brings what an address gives into a workspace: fetched to its end, checked as a whole, and only then laid in. */
import type { Readable } from "node:stream";
import { LIMITS } from "../contract/limits.ts";
import type { DownloadOrder, WorkspaceAnswer } from "../contract/workspace.ts";
import type { Sandbox } from "../sandbox/provider.ts";
import { StoreError } from "../store/error.ts";
import { type Passing, TooLongError, type Transit } from "../store/transit.ts";
import { openedArchive } from "./download-archive.ts";
import { DownloadError, type DownloadRules, fetchInto } from "./download-fetch.ts";
import { checkRoom } from "./download-room.ts";
import { layFile } from "./workspace-write.ts";

export interface DownloadDeps {
  readonly store: { readonly transit: Transit };
  readonly downloads?: DownloadRules;
}

const PUBLIC_ONLY: DownloadRules = { allow: [] };

export async function download(
  deps: DownloadDeps,
  sandbox: Sandbox,
  work: { readonly path: string; readonly transit: string; readonly signal: AbortSignal },
): Promise<WorkspaceAnswer> {
  const { transit } = deps.store;
  const order = await orderOf(await transit.open(work.transit));
  const fetched = await fetchWhole(deps, order, work.signal);
  try {
    if (order.sha256 !== undefined && order.sha256.toLowerCase() !== fetched.sha256) {
      throw new DownloadError("CONFLICT", `expected bytes with the SHA-256 ${order.sha256}; it is ${fetched.sha256}`);
    }
    const { bytes, sha256 } = fetched;
    if (!order.extract) {
      await layFile(sandbox, work.path, await transit.open(fetched.id));
      return { found: "downloaded", bytes, sha256 };
    }
    const archive = await openedArchive(transit, fetched, { folder: work.path, signal: work.signal });
    try {
      await checkRoom(sandbox, work.path, archive.kinds);
      await sandbox.unpack(await transit.open(archive.tar));
    } finally {
      await transit.remove(archive.tar);
    }
    return { found: "downloaded", bytes, sha256, files: archive.files };
  } finally {
    await transit.remove(fetched.id);
  }
}

async function orderOf(content: Readable): Promise<DownloadOrder> {
  // Written by the API a moment ago, from what it has checked.
  return JSON.parse(Buffer.concat(await content.toArray()).toString("utf8")) as DownloadOrder;
}

async function fetchWhole(deps: DownloadDeps, order: DownloadOrder, stopped: AbortSignal): Promise<Passing> {
  const late = AbortSignal.timeout(order.timeoutMs);
  const signal = AbortSignal.any([stopped, late]);
  const bytesMax = LIMITS.fileBodyBytesMax;
  try {
    return await fetchInto(deps.downloads ?? PUBLIC_ONLY, { url: order.url, bytesMax, signal }, (body) =>
      deps.store.transit.put(body, { bytesMax, signal }),
    );
  } catch (cause) {
    if (stopped.aborted || cause instanceof DownloadError || cause instanceof StoreError) throw cause;
    if (late.aborted) {
      throw new DownloadError("DOWNLOAD_FAILED", `it was not there after ${order.timeoutMs} ms`, { cause });
    }
    if (cause instanceof TooLongError) {
      throw new DownloadError("PAYLOAD_TOO_LARGE", `expected at most ${bytesMax} bytes; there are more`, { cause });
    }
    throw new DownloadError("DOWNLOAD_FAILED", "the connection broke off before the end", { cause });
  }
}
