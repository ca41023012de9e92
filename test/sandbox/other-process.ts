/** Another process with a provider object of its own, driven by one JSON argument; what the conformance suite starts and kills. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { CallId, SandboxId } from "../../contract/ids.ts";
import type { DockerProviderOptions } from "../../sandbox/docker.ts";
import type { ModalProviderOptions } from "../../sandbox/modal.ts";
import type { SandboxProvider, SpoolOffsets } from "../../sandbox/provider.ts";
import { eventually } from "./commands.ts";

/** How another process makes the same provider. */
export type ProviderElsewhere =
  | { readonly provider: "local" | "bubblewrap" | "processes"; readonly root: string }
  | { readonly provider: "docker"; readonly options: DockerProviderOptions }
  | { readonly provider: "modal"; readonly options: ModalProviderOptions };

export interface Errand {
  readonly elsewhere: ProviderElsewhere;
  readonly sandboxId: SandboxId;
  readonly start?: {
    readonly callIds: readonly CallId[];
    readonly times: number;
    readonly command: string;
    /** Starts as soon as this file is in the workspace, at the same instant as others that wait for it. */
    readonly after?: string;
  };
  /** Prints what it gets as JSON lines. */
  readonly follow?: { readonly callId: CallId; readonly from: SpoolOffsets };
}

export interface OtherProcess {
  readonly pid: number;
  /** Resolves with all it printed. Rejects when it failed by itself. */
  readonly done: Promise<string>;
  /** Resolves when it has printed that line: `awake` when it opened the sandbox, `started` after its starts. */
  says(line: "awake" | "started"): Promise<void>;
  kill(): void;
}

export function inOtherProcess(errand: Errand): OtherProcess {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(errand)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (data: string) => {
    printed += data;
  });
  const done = once(child, "close").then(([code, signal]) => {
    if (code !== 0 && signal !== "SIGKILL") throw new Error(`the other process ended with ${code ?? signal}`);
    return printed;
  });
  return {
    pid: child.pid ?? -1,
    done,
    says: (line) => eventually(() => printed.includes(`${line}\n`), `the other process says ${line}`),
    kill: () => child.kill("SIGKILL"),
  };
}

/** Each is loaded when it is asked for: what another one needs costs a process that is started often too much. */
async function makeProvider(elsewhere: ProviderElsewhere): Promise<SandboxProvider> {
  switch (elsewhere.provider) {
    case "local":
      return (await import("../../sandbox/local.ts")).createLocalProvider({ root: elsewhere.root });
    case "modal":
      return (await import("../../sandbox/modal.ts")).createModalProvider(elsewhere.options);
    case "bubblewrap":
      return (await import("../../sandbox/bubblewrap.ts")).createBubblewrapProvider({ root: elsewhere.root });
    case "processes":
      return (await import("../support/process-channel.ts")).createProcessProvider(elsewhere.root);
    case "docker":
      return (await import("../../sandbox/docker.ts")).createDockerProvider(elsewhere.options);
  }
}

async function runErrand({ elsewhere, sandboxId, start, follow }: Errand): Promise<void> {
  const provider = await makeProvider(elsewhere);
  await using sandbox = await provider.open(sandboxId);
  process.stdout.write("awake\n");
  if (start !== undefined) {
    const { after } = start;
    if (after !== undefined) await eventually(async () => (await sandbox.stat(after)) !== undefined, "all are awake");
    const ids = start.callIds.flatMap((callId) => Array.from({ length: start.times }, () => callId));
    await Promise.all(ids.map((callId) => sandbox.start({ callId, command: start.command, timeoutMs: 20_000 })));
    process.stdout.write("started\n");
  }
  if (follow === undefined) return;
  for await (const event of sandbox.follow(follow.callId, follow.from, AbortSignal.timeout(20_000))) {
    const shown = event.type === "output" ? { ...event, bytes: Buffer.from(event.bytes).toString("latin1") } : event;
    process.stdout.write(`${JSON.stringify(shown)}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runErrand(JSON.parse(process.argv[2] ?? "{}"));
}
