/** `npm run demo`: starts everything, runs one session end to end in the terminal, says where things are, and stops it all. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Config, ConfigError, readConfig } from "../contract/config.ts";
import type { SessionEventOf } from "../contract/events.ts";
import { newId } from "../contract/ids.ts";
import { LIMITS } from "../contract/limits.ts";
import { readToken } from "../store/api-token.ts";
import { Client } from "./client.ts";
import { ClientError } from "./client-error.ts";
import { DEMO_PROMPT, type DemoModel, startDemoModel } from "./demo-model.ts";
import { EXIT, EXIT_OF } from "./exit-codes.ts";
import { createScreen } from "./follow.ts";
import { LiveView } from "./live-view.ts";
import { Progress } from "./progress.ts";
import type { Screen } from "./screen.ts";
import { type Stack, startStack } from "./stack.ts";
import { StackError } from "./stack-error.ts";
import { UsageError } from "./usage-error.ts";

const INSTRUCTIONS =
  "You are a careful assistant with a workspace and tools. Do the work with the tools, say in one sentence what you do next, and keep the final answer short.";
const SECONDS = 1_000;

/** What the session left. */
interface Outcome {
  readonly exitCode: number;
  readonly artifacts: readonly SessionEventOf<"artifact.uploaded">[];
}

/** Why the demo was stopped before its session had ended. */
class DemoStopped extends Error {
  override readonly name = "DemoStopped";
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failed) {
    super(message);
    this.exitCode = exitCode;
  }
}

async function demo(): Promise<number> {
  const stopping = new AbortController();
  const stop = (): void => stopping.abort(new DemoStopped("stopped by hand", EXIT.detached));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  const { config, env } = demoEnvironment(process.env);
  await using model = await startDemoModel(config);
  process.stdout.write(`${model.words}\n`);
  const stack = await start({ ...config, ...model.config }, { ...env, ...model.env }, stopping.signal);
  try {
    void stack.exited.then((end) => {
      if (end.ended === "gave_up") stopping.abort(new DemoStopped(end.message));
    });
    using screen = createScreen(process);
    screen.line(screen.style("dim", `api ${stack.apiUrl}  temporal ${stack.temporalAddress}`));
    return await runSession({ stack, model, screen, stateDir: config.stateDir }, stopping.signal);
  } finally {
    await stack.stop();
  }
}

/** A state directory of its own and any free port, so that the demo is in nobody's way. */
function demoEnvironment(env: NodeJS.ProcessEnv): { readonly config: Config; readonly env: NodeJS.ProcessEnv } {
  const stateDir = path.join(path.resolve(readConfig(env).stateDir), "demo");
  const own = { ...env, PERDURE_STATE_DIR: stateDir, PERDURE_PORT: "0" };
  return { config: readConfig(own), env: own };
}

async function start(config: Config, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Stack> {
  using progress = new Progress("starting Temporal, a worker and the API", process.stderr);
  return await startStack({
    config,
    env,
    signal,
    onEvent: (event) => {
      if (event.type === "progress") progress.update(event.text);
    },
  });
}

interface Place {
  readonly stack: Stack;
  readonly model: DemoModel;
  readonly screen: Screen;
  readonly stateDir: string;
}

async function runSession({ stack, model, screen, stateDir }: Place, signal: AbortSignal): Promise<number> {
  const client = new Client(stack.apiUrl, readToken(stateDir));
  const id = newId("ses");
  await client.createSession(
    {
      id,
      title: "demo",
      agent: { instructions: INSTRUCTIONS, ...(model.isScripted && { model: "scripted-model" }) },
      message: { content: DEMO_PROMPT, id: newId("msg") },
    },
    signal,
  );
  screen.line(screen.style("dim", `session ${id}`));
  const timeout = AbortSignal.timeout(LIMITS.demoTimeoutMs);
  const { exitCode, artifacts } = await watch(client, { id, screen }, AbortSignal.any([signal, timeout]));
  const report = artifacts.findLast((artifact) => artifact.path.endsWith("report.md"));
  if (exitCode !== EXIT.completed) throw new DemoStopped("the session's turn did not complete; see above");
  if (!report) throw new DemoStopped("the agent finished without outputs/report.md");
  const copy = await download(client, { id, report, stateDir });
  await close(client, id);
  tellPlaces({ stack, screen, stateDir, copy }, `${stack.apiUrl}/v1/sessions/${id}`, report);
  return EXIT.completed;
}

/** Shows the session until its turn has ended. */
async function watch(
  client: Client,
  { id, screen }: { readonly id: string; readonly screen: Screen },
  signal: AbortSignal,
): Promise<Outcome> {
  const view = new LiveView(screen);
  const artifacts: SessionEventOf<"artifact.uploaded">[] = [];
  screen.wait({ text: "waiting for the agent", since: Date.now() });
  for await (const { event } of client.events(id, { after: 0, signal })) {
    if (!event) continue;
    view.show(event);
    if (event.type === "artifact.uploaded") artifacts.push(event);
    if (event.type === "turn.completed") return { exitCode: EXIT_OF.completed, artifacts };
    if (event.type === "turn.failed") return { exitCode: EXIT_OF.failed, artifacts };
    if (event.type === "turn.interrupted") return { exitCode: EXIT_OF.interrupted, artifacts };
  }
  if (signal.reason instanceof DemoStopped) throw signal.reason;
  throw new DemoStopped(`the session did not end within ${LIMITS.demoTimeoutMs / SECONDS} s`);
}

/** Gets the artifact as any client would, and keeps it where it can be opened after the demo. */
async function download(
  client: Client,
  of: { readonly id: string; readonly report: SessionEventOf<"artifact.uploaded">; readonly stateDir: string },
): Promise<string> {
  const url = `${client.baseUrl}/v1/sessions/${of.id}/artifacts/${of.report.artifactId}`;
  const response = await fetch(url, {
    headers: client.headers,
    signal: AbortSignal.timeout(LIMITS.clientRequestTimeoutMs),
  });
  if (!response.ok) throw new DemoStopped(`the artifact could not be read: ${url} answered ${response.status}`);
  const file = path.join(of.stateDir, "reports", of.id, "report.md");
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, Buffer.from(await response.arrayBuffer()));
  return shortPath(file);
}

/** Ends the session, so that its sandbox is removed too. */
async function close(client: Client, id: string): Promise<void> {
  const { lastSeq } = await client.getSession(id);
  await client.close(id);
  const deadline = AbortSignal.timeout(LIMITS.closeWaitMs);
  for await (const { type } of client.events(id, { after: lastSeq, signal: deadline })) {
    if (type === "session.closed") return;
  }
  throw new DemoStopped(`the session did not close within ${LIMITS.closeWaitMs / SECONDS} s`);
}

function tellPlaces(
  of: { readonly stack: Stack; readonly screen: Screen; readonly stateDir: string; readonly copy: string },
  sessionUrl: string,
  { artifactId }: SessionEventOf<"artifact.uploaded">,
): void {
  const { stack, screen, copy } = of;
  screen.gap();
  screen.line(`artifact   ${copy}`);
  screen.line(`           ${sessionUrl}/artifacts/${artifactId}`);
  screen.line(`api        ${stack.apiUrl}  (events: ${sessionUrl}/events)`);
  screen.line(`temporal   ${stack.temporalAddress}`);
  const again = `PERDURE_STATE_DIR=${shortPath(of.stateDir)} npm start`;
  screen.line(screen.style("dim", `Everything is being stopped now; to look at it again: ${again}`));
}

/** Relative where that is shorter to read. */
function shortPath(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative.startsWith("..") ? file : relative;
}

/** What went wrong, in words and never as a stack trace. */
function explain(error: unknown): number {
  const known = [DemoStopped, StackError, ConfigError, ClientError, UsageError].some((kind) => error instanceof kind);
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`perdure demo: ${known ? message : `this is a bug of perdure: ${message}`}\n`);
  if (error instanceof DemoStopped) return error.exitCode;
  if (error instanceof StackError && error.kind === "stopped") return EXIT.detached;
  return error instanceof ConfigError ? EXIT.usage : EXIT.failed;
}

try {
  process.exitCode = await demo();
} catch (error) {
  process.exitCode = explain(error);
}
