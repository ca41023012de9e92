/** `perdure backends`: what an agent can run on, whether that can be used as it is set up, and if not, why. */
import type { Command } from "commander";
import type { BackendReport } from "../../contract/backends.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { tableRow } from "../pages.ts";
import { safeJson, safeLine, safeText } from "../terminal-text.ts";
import { type ApiOptions, apiClient, withApi } from "./api-command.ts";

interface BackendsOptions extends ApiOptions {
  readonly json: boolean;
}

const COLUMNS = [10, 14, 7, 24] as const;
const MODEL_CHARACTERS = 24;
const TITLE_CHARACTERS = 80;

export function addBackends(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("backends")
    .description("List the backends, and whether the running workers can use them.")
    .option("--json", "print each backend as one line of JSON", false);
  withApi(command).action(async (options: BackendsOptions) => {
    const { backends } = await apiClient(options, io.env).listBackends();
    if (options.json) for (const backend of backends) io.stdout.write(`${safeJson(JSON.stringify(backend))}\n`);
    else show(io, backends);
    end(EXIT.completed);
  });
}

function show(io: Io, backends: readonly BackendReport[]): void {
  io.stdout.write(`${tableRow(COLUMNS, ["BACKEND", "STATE", "WORKERS", "DEFAULT MODEL", "WHAT"])}\n`);
  for (const backend of backends) {
    const { name, title, workers, defaultModel, validation } = backend;
    const model = safeLine(defaultModel ?? "-", MODEL_CHARACTERS);
    const cells = [name, stateOf(backend), String(workers), model, safeLine(title, TITLE_CHARACTERS)];
    io.stdout.write(`${tableRow(COLUMNS, cells)}\n`);
    for (const { code, message } of validation?.errors ?? []) {
      io.stdout.write(`${safeText(`${code}: ${message}`).replaceAll(/^/gm, "  ")}\n`);
    }
  }
}

function stateOf({ workers, validation }: BackendReport): string {
  if (workers === 0) return "no worker";
  if (validation === null) return "not tried yet";
  return validation.valid ? "ready" : "not usable";
}
