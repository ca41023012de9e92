/** `perdure sandboxes`: where commands can run, what each provider holds back there, and why one cannot be used. */
import type { Command } from "commander";
import type { SandboxReport } from "../../contract/http.ts";
import { EXIT } from "../exit-codes.ts";
import type { Io } from "../io.ts";
import { tableRow } from "../pages.ts";
import { safeJson, safeLine, safeText } from "../terminal-text.ts";
import { type ApiOptions, apiClient, withApi } from "./api-command.ts";

interface SandboxesOptions extends ApiOptions {
  readonly json: boolean;
}

const COLUMNS = [11, 16, 12, 14, 11, 11, 11, 11] as const;
const HOST_CHARACTERS = 16;
const MEANS_CHARACTERS = 24;

export function addSandboxes(program: Command, io: Io, end: (exitCode: number) => void): void {
  const command = program
    .command("sandboxes")
    .description("List the sandbox providers of the running workers, and what each holds back.")
    .option("--json", "print each provider as one line of JSON", false);
  withApi(command).action(async (options: SandboxesOptions) => {
    const { providers } = await apiClient(options, io.env).listSandboxes();
    if (options.json) for (const provider of providers) io.stdout.write(`${safeJson(JSON.stringify(provider))}\n`);
    else show(io, providers);
    end(EXIT.completed);
  });
}

function show(io: Io, providers: readonly SandboxReport[]): void {
  if (providers.length === 0) {
    io.stdout.write("No worker runs, so nobody can say: `perdure worker` starts one.\n");
    return;
  }
  const titles = ["PROVIDER", "HOST", "STATE", "ISOLATION", "MEMORY", "PROCESSES", "DISK", "NETWORK"];
  io.stdout.write(`${tableRow(COLUMNS, titles)}\n`);
  for (const { name, host, available, isDefault, capabilities, reason } of providers) {
    const state = available ? (isDefault ? "default" : "ready") : "not usable";
    const { isolation, memory, processes, disk, network } = capabilities ?? {};
    const means = [isolation, memory, processes, disk, network].map((word) => safeLine(word ?? "-", MEANS_CHARACTERS));
    io.stdout.write(`${tableRow(COLUMNS, [name, safeLine(host, HOST_CHARACTERS), state, ...means])}\n`);
    if (reason !== null) io.stdout.write(`${safeText(reason).replaceAll(/^/gm, "  ")}\n`);
  }
}
