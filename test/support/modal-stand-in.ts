/**
 * A Modal for tests: control plane and command router over gRPC on loopback, sandboxes as folders with processes.
 *
 * In a test: `await using modal = await startModalStandIn()`. As a process of its own, which outlives the workers that use it:
 * `node test/support/modal-stand-in.ts`, which prints one line of JSON, `{url, controlUrl, tokenId, tokenSecret}`, and ends with
 * its standard input or a signal; `POST <controlUrl>/kill {"name"}` kills a sandbox (without a name: any that runs), `POST
 * <controlUrl>/faults {…}` orders a fault, `GET <controlUrl>/sandboxes` lists.
 */
import { mkdtemp } from "node:fs/promises";
import { createServer, type Server as HttpServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { Server, ServerCredentials, type ServerUnaryCall, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { controlPlane } from "./modal-control-plane.ts";
import { createFaults, type Fault, type Faults, StatusError } from "./modal-faults.ts";
import { commandRouter } from "./modal-router.ts";
import { createSandboxes, ENDED, type StoodIn } from "./modal-sandboxes.ts";
import { createUnary, serviceOf } from "./modal-wire.ts";

const MESSAGE_BYTES_MAX = 100 * 1024 * 1024;

export interface ModalStandIn extends AsyncDisposable {
  readonly url: string;
  readonly tokenId: string;
  readonly tokenSecret: string;
  readonly faults: Faults;
  sandboxes(): readonly StoodIn[];
  /** Kills the running sandbox of that name, or any that runs, with all that is in it. false: there is none. */
  kill(name?: string): Promise<boolean>;
}

export interface StandInOptions {
  /** Named secrets of the account: variables by secret. */
  readonly secrets?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export async function startModalStandIn({ secrets = {} }: StandInOptions = {}): Promise<ModalStandIn> {
  const tokenId = "ak-stand-in";
  const tokenSecret = "as-stand-in";
  const faults = createFaults();
  const sandboxes = createSandboxes(await mkdtemp(path.join(tmpdir(), "perdure-modal-")));
  const admit = (_name: string, call: ServerUnaryCall<unknown, object>) => {
    if (
      call.metadata.get("x-modal-token-id")[0] === tokenId &&
      call.metadata.get("x-modal-token-secret")[0] === tokenSecret
    )
      return;
    throw new StatusError("UNAUTHENTICATED", "Token ID not found");
  };
  const router = await serve(
    "modal-router.proto",
    "modal.task_command_router.TaskCommandRouter",
    commandRouter({ sandboxes, faults, secrets, unary: createUnary(faults, () => {}) }),
  );
  const control = await serve(
    "modal-control-plane.proto",
    "modal.client.ModalClient",
    controlPlane({
      ...{ sandboxes, faults, secrets, routerUrl: `https://127.0.0.1:${router.port}` },
      unary: createUnary(faults, admit),
    }),
  );
  return {
    ...{ url: `http://127.0.0.1:${control.port}`, tokenId, tokenSecret, faults, sandboxes: sandboxes.all },
    async kill(name) {
      const found = sandboxes.all().find((one) => !one.result && (name === undefined || one.definition.name === name));
      if (found) await sandboxes.end(found, ENDED.internal);
      return found !== undefined;
    },
    async [Symbol.asyncDispose]() {
      await sandboxes.close();
      control.server.forceShutdown();
      router.server.forceShutdown();
    },
  };
}

async function serve(
  file: string,
  name: string,
  implementation: UntypedServiceImplementation,
): Promise<{ server: Server; port: number }> {
  const server = new Server({
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  });
  server.addService(serviceOf(file, name), implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { server, port };
}

/** The stand-in's own little API, for those that are another process. */
async function serveControl(standIn: ModalStandIn): Promise<{ server: HttpServer; url: string }> {
  const answer = async (request: IncomingMessage): Promise<unknown> => {
    if (request.method === "GET" && request.url === "/sandboxes") {
      return standIn
        .sandboxes()
        .map(({ id, definition, tags, result }) => ({ id, name: definition.name, tags, runs: !result }));
    }
    if (request.method !== "POST") return undefined;
    const body = (await json(request)) as { name?: string } & Fault;
    if (request.url === "/kill") return { killed: await standIn.kill(body.name) };
    if (request.url === "/faults") return standIn.faults.add(body) ?? {};
    return undefined;
  };
  const server = createServer((request, response) => {
    answer(request).then(
      (found) => response.writeHead(found === undefined ? 404 : 200).end(JSON.stringify(found ?? {})),
      (error: unknown) => response.writeHead(400).end(JSON.stringify({ error: String(error) })),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function main(): Promise<void> {
  const standIn = await startModalStandIn();
  const { server, url } = await serveControl(standIn);
  let isEnding = false;
  const end = () => {
    if (isEnding) return;
    isEnding = true;
    server.close();
    server.closeAllConnections();
    void standIn[Symbol.asyncDispose]().then(() => process.exit(0));
  };
  process.once("SIGTERM", end).once("SIGINT", end);
  process.stdin.once("end", end).once("error", end).resume();
  const { tokenId, tokenSecret } = standIn;
  process.stdout.write(`${JSON.stringify({ url: standIn.url, controlUrl: url, tokenId, tokenSecret })}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
