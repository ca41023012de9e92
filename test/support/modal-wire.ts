/** How the Modal stand-in's calls come in: messages by the .proto files beside it, faults on the way, one shape of handler. */
import { fileURLToPath } from "node:url";
import {
  type GrpcObject,
  type handleUnaryCall,
  loadPackageDefinition,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { type Faults, StatusError } from "./modal-faults.ts";

export interface SecretSource {
  readonly secretId?: string;
  readonly env?: { readonly contents: Readonly<Record<string, string>> };
}

/** Variables that come by value, and those of secrets that come by name. */
export function environmentOf(
  sources: readonly SecretSource[] | undefined,
  secrets: Readonly<Record<string, Readonly<Record<string, string>>>>,
): Record<string, string> {
  return Object.assign({}, ...(sources ?? []).map((one) => one.env?.contents ?? secrets[one.secretId ?? ""] ?? {}));
}

/** The service of that name (`modal.client.ModalClient`) in a .proto file beside this one. */
export function serviceOf(file: string, name: string): ServiceDefinition {
  const messages = loadSync(fileURLToPath(new URL(file, import.meta.url)), {
    ...{ keepCase: false, longs: Number, enums: Number, defaults: true, arrays: true, oneofs: true },
  });
  const found = name
    .split(".")
    .reduce<GrpcObject | ServiceClientConstructor>(
      (at, part) => (at as GrpcObject)[part] as GrpcObject,
      loadPackageDefinition(messages),
    );
  return (found as ServiceClientConstructor).service;
}

/** What answers one call; the signal aborts when the client no longer waits. */
export type Answer<Request> = (
  request: Request,
  signal: AbortSignal,
  call: ServerUnaryCall<Request, object>,
) => object | Promise<object>;

export type UnaryMaker = <Request>(name: string, answer: Answer<Request>) => handleUnaryCall<Request, object>;

export function createUnary(
  faults: Faults,
  admit: (name: string, call: ServerUnaryCall<unknown, object>) => void,
): UnaryMaker {
  return (name, answer) => (call, callback) => {
    void (async () => {
      const fault = faults.next(name);
      const gone = new AbortController();
      call.on("cancelled", () => gone.abort());
      try {
        if (fault?.hangs) return;
        admit(name, call as ServerUnaryCall<unknown, object>);
        const broken = fault?.status === undefined ? undefined : new StatusError(fault.status, "on order");
        if (broken && fault?.when !== "after") throw broken;
        if (fault?.empty) return callback(null, {});
        const answered = await answer(call.request, gone.signal, call);
        if (broken) throw broken;
        callback(null, answered);
      } catch (error) {
        callback(error instanceof StatusError ? error : new StatusError("INTERNAL", String(error)));
      }
    })();
  };
}
