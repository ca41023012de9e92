/** Downloads into a live workspace, fetched by the worker that reaches it. */
import { Downloaded, PostDownload } from "../../contract/downloads.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { DownloadOrder } from "../../contract/workspace.ts";
import { contentHash } from "../../store/content-hash.ts";
import type { Dependencies } from "../dependencies.ts";
import { IdempotencyHeaders, idempotencyKey } from "../idempotency.ts";
import { invalidField } from "../input.ts";
import { type Operation, operation } from "../operation.ts";
import { SessionParams } from "../parameters.ts";
import { askWorkspace, openSession } from "../workspace-call.ts";
import { pathFault } from "../workspace-path.ts";

export function downloadOperations(deps: Dependencies): readonly Operation[] {
  return [
    operation({
      method: "post",
      path: "/v1/sessions/{sessionId}/downloads",
      id: "download",
      summary: "Fetch a file or an archive into the workspace",
      description:
        `At most ${LIMITS.fileBodyBytesMax} bytes and ${LIMITS.downloadRedirectsMax} redirects. Addresses that are not public are refused, ` +
        "unless the operator allows them. Nothing is seen in the workspace before all of it has come and was found good. The same " +
        "`Idempotency-Key` is the same download; with another body it is a CONFLICT, unless nothing came of the first.",
      headers: IdempotencyHeaders,
      params: SessionParams,
      body: PostDownload,
      answers: { 200: { description: "It is there.", contentType: "application/json", schema: Downloaded } },
      problems: [
        ...(["SESSION_NOT_FOUND", "SESSION_CLOSED", "NOT_FOUND", "CONFLICT", "PAYLOAD_TOO_LARGE"] as const),
        ...(["ARCHIVE_REFUSED", "DOWNLOAD_FAILED", "UNAVAILABLE"] as const),
      ],
      handle: async ({ params, body, request }) => {
        const { sessionId } = params;
        const key = idempotencyKey(request);
        const path = checked(body);
        await openSession(deps, sessionId);
        const { url, sha256, extract, timeoutMs } = body;
        const order: DownloadOrder = { url, extract, timeoutMs, ...(sha256 !== undefined && { sha256 }) };
        // The order goes by way of the transit, because an address may hold a key.
        const { id: transit } = await deps.store.transit.put(Buffer.from(JSON.stringify(order)));
        try {
          const work = { sessionId, operation: "download", path, transit } as const;
          const once = key === undefined ? undefined : { name: key, content: contentHash(body) };
          const { found: _, ...answer } = await askWorkspace(deps, work, ["downloaded"], once);
          return { status: 200, body: { path, ...answer } };
        } finally {
          await deps.store.transit.remove(transit);
        }
      },
    }),
  ];
}

/** The path that is meant; "" is the workspace itself. Throws INVALID_INPUT. */
function checked({ url, path: given, extract }: PostDownload): string {
  const fault = urlFault(url);
  if (fault !== undefined) throw invalidField("/url", fault);
  const path = given === "." ? "" : given.replace(/\/$/, "");
  if (path === "" && extract && given !== "/") return "";
  const pathIs = path === "" ? "expected the path of a file" : pathFault(path);
  if (pathIs !== undefined) throw invalidField("/path", pathIs);
  return path;
}

function urlFault(text: string): string | undefined {
  if (!URL.canParse(text)) return "expected an address such as https://example.com/file";
  const { protocol, username, password } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return "expected http:// or https://";
  return username === "" && password === "" ? undefined : "expected no user and no password in it";
}
