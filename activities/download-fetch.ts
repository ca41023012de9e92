/**
 * Fetches an address of the caller's for a workspace: http and https only, never from an address that is not public unless the
 * operator allows it, each redirect checked as the first address was, within a time and a size.
 */
import { lookup } from "node:dns/promises";
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { LIMITS } from "../contract/limits.ts";
import type { WorkspaceProblem } from "../contract/workspace.ts";
import { classifyAddress } from "../sandbox/egress/addresses.ts";
import { allowList } from "../sandbox/egress/allow-list.ts";

export interface DownloadRules {
  /** Hosts, as a sandbox's network names them, that may be reached whatever their addresses are. */
  readonly allow: readonly string[];
  /** The addresses of a name. Default: the system's. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

/** A download that cannot be, in words for whoever asked for it. */
export class DownloadError extends Error {
  override readonly name = "DownloadError";
  readonly code: WorkspaceProblem;

  constructor(code: WorkspaceProblem, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Hands the body to `take` as it comes. Throws DownloadError for all that is wrong with the address or the answer.
 * The signal ends it at any point, with its reason.
 */
export async function fetchInto<T>(
  rules: DownloadRules,
  from: { readonly url: string; readonly bytesMax: number; readonly signal: AbortSignal },
  take: (body: IncomingMessage) => Promise<T>,
): Promise<T> {
  const { signal, bytesMax } = from;
  let url = new URL(from.url);
  for (let redirects = 0; ; redirects++) {
    const response = await open(rules, url, signal);
    const status = response.statusCode ?? 0;
    if (!REDIRECTS.has(status)) {
      try {
        checkAnswer(url, response, bytesMax);
        return await take(response);
      } finally {
        response.destroy();
      }
    }
    response.destroy();
    if (redirects >= LIMITS.downloadRedirectsMax) {
      throw new DownloadError("DOWNLOAD_FAILED", `there were more than ${LIMITS.downloadRedirectsMax} redirects`);
    }
    url = redirected(url, response.headers.location);
  }
}

function checkAnswer(url: URL, { statusCode, headers }: IncomingMessage, bytesMax: number): void {
  if (statusCode !== 200) {
    throw new DownloadError(
      "DOWNLOAD_FAILED",
      `${url.host} answered with status ${statusCode ?? "none"}, expected 200`,
    );
  }
  if (Number(headers["content-length"] ?? 0) > bytesMax) {
    throw new DownloadError("PAYLOAD_TOO_LARGE", `expected at most ${bytesMax} bytes; ${url.host} announces more`);
  }
}

function redirected(from: URL, location: string | undefined): URL {
  const fail = (words: string): DownloadError =>
    new DownloadError("DOWNLOAD_FAILED", `${from.host} redirects ${words}`);
  if (location === undefined) throw fail("to nowhere");
  if (!URL.canParse(location, from.href)) throw fail("to what is no address");
  const to = new URL(location, from);
  const fault = urlFault(to);
  if (fault !== undefined) throw fail(`to an address that is not taken: ${fault}`);
  if (from.protocol === "https:" && to.protocol === "http:") throw fail("from https to http");
  return to;
}

/** What is wrong with an address that is to be fetched; undefined when nothing is. */
export function urlFault({ protocol, username, password, hostname }: URL): string | undefined {
  if (protocol !== "http:" && protocol !== "https:") return "expected http:// or https://";
  if (username !== "" || password !== "") return "expected no user and no password in it";
  return hostname === "" ? "expected a host" : undefined;
}

/** Resolves the host once, checks what it is, and connects to that address and no other. */
async function open(rules: DownloadRules, url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const addresses = await unlessAborted(allowedAddresses(rules, url), signal);
  const pinned: LookupFunction = (_host, options, done) => {
    const found = addresses.map((address) => ({ address, family: isIP(address) }));
    const [first] = found;
    if (options.all) done(null, found);
    else if (first) done(null, first.address, first.family);
  };
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  return await new Promise((resolve, reject) => {
    const headers = { "user-agent": "perdure", accept: "*/*", "accept-encoding": "identity" };
    const request = send(url, { lookup: pinned, signal, headers, agent: false, maxHeaderSize: 32 * 1024 });
    request.once("response", resolve);
    request.once("error", (cause) => reject(signal.aborted ? signal.reason : unreachable(url, cause)));
    request.end();
  });
}

/** The system's resolver can be slow, and cannot be stopped. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function allowedAddresses(rules: DownloadRules, url: URL): Promise<readonly string[]> {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const addresses = isIP(host) > 0 ? [host] : await resolved(rules, host);
  if (isAllowedHost(rules.allow, url)) return addresses;
  for (const address of addresses) {
    const kind = classifyAddress(address);
    if (kind === "public") continue;
    const what = address === host ? `${host} is` : `${host} leads to`;
    const words = `${what} an address that is not public (${kind.replace("_", " ")}), and those are not fetched from`;
    throw new DownloadError("FORBIDDEN", `${words}; the operator can allow it with PERDURE_DOWNLOADS_ALLOW`);
  }
  return addresses;
}

async function resolved(rules: DownloadRules, host: string): Promise<readonly string[]> {
  const resolve = rules.resolve ?? (async (name) => (await lookup(name, { all: true })).map(({ address }) => address));
  const addresses = await resolve(host).catch((cause: unknown) => {
    throw new DownloadError("DOWNLOAD_FAILED", `the name ${host} could not be resolved`, { cause });
  });
  if (addresses.length === 0) throw new DownloadError("DOWNLOAD_FAILED", `the name ${host} has no address`);
  return addresses;
}

function isAllowedHost(allow: readonly string[], url: URL): boolean {
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  return allowList(allow).decide(url.hostname, port).decision === "allow";
}

function unreachable(url: URL, cause: Error): DownloadError {
  const code = "code" in cause && typeof cause.code === "string" ? ` (${cause.code})` : "";
  return new DownloadError("DOWNLOAD_FAILED", `${url.host} could not be reached${code}`, { cause });
}
