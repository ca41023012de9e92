/** Asks a Temporal server whether it serves, by gRPC's own health protocol: one small request, no SDK to load. */
import { connect } from "node:http2";
import { setTimeout as delay } from "node:timers/promises";
import { LIMITS } from "../contract/limits.ts";

const SERVICE = "temporal.api.workflowservice.v1.WorkflowService";
const REQUEST = frame(Buffer.concat([Buffer.from([0x0a, SERVICE.length]), Buffer.from(SERVICE)]));
/** `HealthCheckResponse { status: SERVING }` in its frame. */
const SERVING = frame(Buffer.from([0x08, 0x01]));

/** Whether the server at `host:port` answers that it serves. Never throws; bounded by LIMITS.healthTimeoutMs. */
export function isServing(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const session = connect(`http://${address}`);
    const answer = (serving: boolean): void => {
      clearTimeout(timer);
      session.destroy();
      resolve(serving);
    };
    const timer = setTimeout(answer, LIMITS.healthTimeoutMs, false);
    session.once("error", () => answer(false));
    const call = session.request({
      ":method": "POST",
      ":path": "/grpc.health.v1.Health/Check",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const received: Buffer[] = [];
    call.on("data", (bytes: Buffer) => received.push(bytes));
    call.once("error", () => answer(false));
    call.once("end", () => answer(Buffer.concat(received).equals(SERVING)));
    call.end(REQUEST);
  });
}

/** Asks until the server serves (true), or the time is over or the signal aborts (false). */
export async function waitServing(address: string, signal: AbortSignal): Promise<boolean> {
  const deadline = Date.now() + LIMITS.startTimeoutMs;
  while (!signal.aborted && Date.now() < deadline) {
    if (await isServing(address)) return true;
    await delay(LIMITS.healthEveryMs);
  }
  return false;
}

/** The frame of one gRPC message: not compressed, four bytes of length, the message. */
function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
