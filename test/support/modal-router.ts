/** The Modal stand-in's command router: execs by an id that the client chose, their input and output by offset, snapshots. */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { ServerWritableStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { type Exec, startExec } from "./modal-exec.ts";
import { type Faults, StatusError } from "./modal-faults.ts";
import type { Sandboxes, StoodIn } from "./modal-sandboxes.ts";
import { environmentOf, type SecretSource, type UnaryMaker } from "./modal-wire.ts";

interface ExecRef {
  readonly taskId: string;
  readonly execId: string;
}
interface ExecStart extends ExecRef {
  readonly commandArgs: readonly string[];
  readonly timeoutSecs?: number;
  readonly workdir?: string;
  readonly ptyInfo?: { readonly enabled: boolean; readonly winszRows: number; readonly winszCols: number };
  readonly secretSources: readonly SecretSource[];
}
interface StdioRead extends ExecRef {
  readonly offset: number;
  readonly fileDescriptor: number;
}
interface StdinWrite extends ExecRef {
  readonly offset: number;
  readonly data: Uint8Array;
  readonly eof: boolean;
}
type OutputCall = ServerWritableStream<StdioRead, { data: Uint8Array }>;

export interface RouterDeps {
  readonly sandboxes: Sandboxes;
  readonly faults: Faults;
  readonly unary: UnaryMaker;
  readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export function commandRouter({ sandboxes, faults, unary, secrets }: RouterDeps): UntypedServiceImplementation {
  const starting = new Map<string, Promise<void>>();

  function execOf({ taskId, execId }: ExecRef): Exec {
    const exec = sandboxes.byTask(taskId).execs.get(execId);
    if (exec === undefined) throw new StatusError("NOT_FOUND", `exec ${execId} not found`);
    return exec;
  }

  async function start(sandbox: StoodIn, request: ExecStart): Promise<void> {
    const place = await sandbox.place;
    await mkdir(path.join(sandbox.folder, "execs"), { recursive: true });
    const { timeoutSecs, ptyInfo } = request;
    const exec = await startExec(place, {
      argv: request.commandArgs,
      cwd: request.workdir ?? "/",
      environment: { ...sandbox.environment, ...environmentOf(request.secretSources, secrets) },
      timeoutMs: timeoutSecs === undefined ? undefined : timeoutSecs * 1_000,
      terminal: ptyInfo?.enabled ? { rows: ptyInfo.winszRows, columns: ptyInfo.winszCols } : undefined,
      folder: path.join(sandbox.folder, "execs", request.execId),
    });
    if (sandbox.result) exec.close();
    else sandbox.execs.set(request.execId, exec);
  }

  return {
    // The id is the client's, so that a start that is asked for twice starts once.
    TaskExecStart: unary("TaskExecStart", async (request: ExecStart) => {
      const sandbox = sandboxes.byTask(request.taskId);
      const known = starting.get(request.execId) ?? start(sandbox, request);
      starting.set(request.execId, known);
      await known;
      return {};
    }),
    TaskExecStdioRead: (call: OutputCall) => void carryOutput(call, faults, execOf),
    TaskExecStdinWrite: unary("TaskExecStdinWrite", async (request: StdinWrite) => {
      await execOf(request).write(request.offset, request.data, request.eof);
      return {};
    }),
    TaskExecStdinStatus: unary("TaskExecStdinStatus", (request: ExecRef) => {
      const { bytes, closed } = execOf(request).input();
      return { numBytesWritten: bytes, closed };
    }),
    TaskExecPoll: unary("TaskExecPoll", (request: ExecRef) => execOf(request).exit() ?? {}),
    TaskExecWait: unary("TaskExecWait", async (request: ExecRef, signal) => {
      const exec = execOf(request);
      await exec.ended(signal);
      return exec.exit() ?? {};
    }),
    TaskSnapshotFilesystem: unary("TaskSnapshotFilesystem", async (request: { readonly taskId: string }) => ({
      imageId: await sandboxes.snapshot(sandboxes.byTask(request.taskId)),
    })),
  };
}

async function carryOutput(call: OutputCall, faults: Faults, execOf: (ref: ExecRef) => Exec): Promise<void> {
  const gone = new AbortController();
  call.on("cancelled", () => gone.abort());
  call.on("error", () => gone.abort());
  const fault = faults.next("TaskExecStdioRead");
  try {
    if (fault?.status !== undefined && fault.afterBytes === undefined) throw new StatusError(fault.status, "on order");
    const { fileDescriptor, offset } = call.request;
    const printed = execOf(call.request).outputs[fileDescriptor === 0 ? 0 : 1];
    let at = Number(offset);
    let left = fault?.afterBytes ?? Number.POSITIVE_INFINITY;
    for (;;) {
      const data = await printed.read(at, gone.signal);
      if (gone.signal.aborted) return;
      if (data === undefined) return void call.end();
      const carried = data.subarray(0, Math.min(data.length, left));
      at += carried.length;
      left -= carried.length;
      if (carried.length > 0 && !call.write({ data: carried })) await drained(call, gone.signal);
      if (left <= 0) throw new StatusError(fault?.status ?? "UNAVAILABLE", "the stream was dropped, on order");
    }
  } catch (error) {
    call.emit("error", error instanceof StatusError ? error : new StatusError("INTERNAL", String(error)));
  }
}

function drained(call: OutputCall, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.on("drain", done);
    signal.addEventListener("abort", done);
  });
}
