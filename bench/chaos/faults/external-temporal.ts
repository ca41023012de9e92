/** A Temporal server that the stack does not supervise, so that it can be away: killed, and started again on the same port and database. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync } from "node:fs";
import path from "node:path";
import { freePort } from "../../../cli/ports.ts";
import {
  findTemporal,
  TEMPORAL_HOST,
  temporalCommand,
  temporalEnv,
  waitOwnTemporal,
} from "../../../cli/temporal-server.ts";

const STARTS_MS = 30_000;

export class ExternalTemporal implements AsyncDisposable {
  readonly databaseFile: string;
  readonly address: string;
  readonly #command: ReturnType<typeof temporalCommand>;
  readonly #log: number;
  #child: ChildProcess | undefined;

  private constructor(folder: string, binary: string, ports: { readonly port: number; readonly httpPort: number }) {
    mkdirSync(folder, { recursive: true });
    this.databaseFile = path.join(folder, "temporal.db");
    this.address = `${TEMPORAL_HOST}:${ports.port}`;
    this.#command = temporalCommand({
      binary,
      databaseFile: this.databaseFile,
      synchronous: "normal",
      namespace: "default",
      ui: undefined,
      ...ports,
    });
    this.#log = openSync(path.join(folder, "temporal.log"), "a");
  }

  static async start(folder: string): Promise<ExternalTemporal> {
    const binary = await findTemporal(() => undefined);
    const ports = { port: await freePort(TEMPORAL_HOST), httpPort: await freePort(TEMPORAL_HOST) };
    const server = new ExternalTemporal(folder, binary, ports);
    await server.start();
    return server;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async start(): Promise<void> {
    const { file, args } = this.#command;
    const stdio = ["ignore", this.#log, this.#log, "pipe"] as const;
    this.#child = spawn(file, args, { stdio: [...stdio], detached: true, env: temporalEnv(process.env) });
    if (!(await waitOwnTemporal(this.address, AbortSignal.timeout(STARTS_MS))))
      throw new Error(`Temporal did not come back at ${this.address} within ${STARTS_MS} ms`);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
