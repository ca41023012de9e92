/** A real sandbox for tests of tools, and calls of tools in it, attempt after attempt, with all that they publish and note. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { CallId } from "../../contract/ids.ts";
import { createLocalProvider } from "../../sandbox/local.ts";
import type { Sandbox, SpoolOffsets } from "../../sandbox/provider.ts";
import { createToolbox, parseArguments, type Toolbox } from "../../tools/registry.ts";
import type { Tool, ToolContext, ToolResult } from "../../tools/tool.ts";

export interface Workshop extends AsyncDisposable {
  readonly sandbox: Sandbox;
  /** Runs a shell command as part of a test's setting, and gives what it printed. */
  sh(command: string): Promise<string>;
  call(name: string, args: Readonly<Record<string, unknown>>): Promise<ToolResult>;
  /** What Temporal's UI shows of a call. */
  summary(name: string, args: Readonly<Record<string, unknown>>): string | undefined;
  /** A call that a test attempts by itself. */
  newCall(): Call;
}

/** One call over its attempts: what is committed about it outlives each. */
export interface Call {
  readonly callId: CallId;
  readonly outputs: { stream: "stdout" | "stderr"; text: string; upTo: SpoolOffsets }[];
  readonly notes: string[];
  attempt(name: string, args: Readonly<Record<string, unknown>>, overrides?: Partial<ToolContext>): Promise<ToolResult>;
}

/** @param added Tools of a worker's own, beside the built-in ones. */
export async function openWorkshop(added: readonly Tool[] = []): Promise<Workshop> {
  const toolbox = createToolbox(added);
  const root = mkdtempSync(path.join(os.tmpdir(), "perdure-tools-"));
  const provider = createLocalProvider({ root });
  const sandbox = await provider.open("sbx_tools");
  const workshop: Workshop = {
    sandbox,
    summary: (name, args) => toolbox.find(name)?.summary(args),
    newCall: () => newCall(sandbox, toolbox),
    call: (name, args) => newCall(sandbox, toolbox).attempt(name, args),
    async sh(command) {
      const call = newCall(sandbox, toolbox);
      await call.attempt("bash", { command });
      return call.outputs.map((output) => output.text).join("");
    },
    async [Symbol.asyncDispose]() {
      await provider.remove("sbx_tools");
      rmSync(root, { recursive: true, force: true });
    },
  };
  return workshop;
}

function newCall(sandbox: Sandbox, toolbox: Toolbox): Call {
  const callId: CallId = `call_${randomUUID()}`;
  const outputs: Call["outputs"] = [];
  const notes: string[] = [];
  let attempts = 0;
  return {
    callId,
    outputs,
    notes,
    async attempt(name, args, overrides) {
      const tool = toolbox.find(name);
      if (!tool) throw new Error(`there is no tool ${name}`);
      const parsed = parseArguments(tool, args);
      if ("error" in parsed) throw new Error(parsed.error);
      attempts += 1;
      return await tool.run(parsed.args, {
        sessionId: "ses_tools",
        callId,
        environment: {},
        sandbox,
        signal: AbortSignal.timeout(9_000),
        isStopped: () => true,
        attempt: attempts,
        published: outputs.at(-1)?.upTo ?? { stdout: 0, stderr: 0 },
        output: (stream, text, upTo) => outputs.push({ stream, text, upTo }),
        intent: notes.at(-1),
        noteIntent: async (note) => {
          notes.push(note);
        },
        ...overrides,
      });
    },
  };
}

export const publishedText = (call: Call, stream: "stdout" | "stderr" = "stdout"): string =>
  call.outputs
    .filter((output) => output.stream === stream)
    .map((output) => output.text)
    .join("");
