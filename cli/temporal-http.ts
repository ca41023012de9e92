/**
 * Temporal's HTTP API, which asks nobody who they are: a page in a browser could start and end workflows by it. Our own build
 * has none; of any other binary it is closed by a setting, and looked at before anything is trusted to it.
 */
import { request } from "node:http";
import { LIMITS } from "../contract/limits.ts";

/** A list of hosts with one that no request can name: a Host with a space in it is no HTTP. */
export const HTTP_CLOSED: readonly string[] = ["--dynamic-config-value", 'frontend.httpAllowedHosts=["no host"]'];

const QUESTION = "/api/v1/namespaces";
const FORBIDDEN = 403;

/** Why the API at this port is open, in words; undefined when it is closed. */
export async function httpApiFault(host: string, port: number): Promise<string | undefined> {
  const status = await statusOf(host, port);
  if (status === undefined || status === FORBIDDEN) return undefined;
  return (
    `this Temporal server's HTTP API is open (it answered ${status} at ${host}:${port}), so any web page could delete ` +
    "sessions by it: use the version that perdure gets by itself (take `temporal` off the PATH), or a server of your own " +
    "(TEMPORAL_ADDRESS) that browsers cannot reach"
  );
}

/** Undefined when nothing listens there. */
function statusOf(host: string, port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: QUESTION, agent: false, timeout: LIMITS.healthTimeoutMs }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    // What listens and does not answer is not known to be closed.
    asked.once("timeout", () => {
      resolve(0);
      asked.destroy();
    });
    asked.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED" ? undefined : 0));
    asked.end();
  });
}
