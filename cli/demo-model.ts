/** The demo's model: the real one where there is a key, else a scripted endpoint that tells a small story. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import type { Config } from "../contract/config.ts";
import { packagePath } from "./package-root.ts";
import { UsageError } from "./usage-error.ts";

export interface DemoModel extends AsyncDisposable {
  readonly isScripted: boolean;
  /** What a person is told of it. */
  readonly words: string;
  /** What it changes in the configuration and in the environment of the worker. */
  readonly config: Partial<Config>;
  readonly env: NodeJS.ProcessEnv;
}

export const DEMO_PROMPT =
  "Write a few sentences about durable agents to notes.txt, count its words and find the most frequent ones with a command, " +
  "write what you found to outputs/report.md, and read the report back to check it.";

/** A part of test/support/model-endpoint.ts. */
interface ScriptedEndpoint {
  readonly url: string;
  script(...steps: readonly object[]): void;
  close(): Promise<void>;
}

const ENDPOINT_FILE = "test/support/model-endpoint.ts";

export async function startDemoModel(config: Config): Promise<DemoModel> {
  if (config.openaiApiKey !== undefined) {
    const words = `OPENAI_API_KEY is set: the model is ${config.model} at ${config.openaiBaseUrl}.`;
    return { isScripted: false, words, config: {}, env: {}, [Symbol.asyncDispose]: async () => {} };
  }
  const endpoint = await startEndpoint();
  endpoint.script(...STORY);
  const env = { OPENAI_BASE_URL: endpoint.url, OPENAI_API_KEY: "scripted", PERDURE_MODEL: "scripted-model" };
  return {
    isScripted: true,
    words:
      "OPENAI_API_KEY is not set: a scripted model answers. All else is real: the tools, the sandbox, the crash-proof log.",
    config: { openaiBaseUrl: endpoint.url, openaiApiKey: env.OPENAI_API_KEY, model: env.PERDURE_MODEL },
    env,
    [Symbol.asyncDispose]: () => endpoint.close(),
  };
}

/** By path, because it is a part of the tests, which a release does not have. */
async function startEndpoint(): Promise<ScriptedEndpoint> {
  const file = packagePath(ENDPOINT_FILE);
  if (!existsSync(file)) throw new UsageError("the scripted model is in the repository only: set OPENAI_API_KEY");
  const module: { startModelEndpoint(): Promise<ScriptedEndpoint> } = await import(pathToFileURL(file).href);
  return await module.startModelEndpoint();
}

const NOTES = `A durable agent outlives the process that runs it.
Every step of the agent is a fact in a log, and every fact is written once.
When a process dies, the next one reads the log and goes on.
No step is lost, and no command runs twice.
`;

const COUNT = `echo "words: $(wc -w < notes.txt)"
tr -cs '[:alpha:]' '\\n' < notes.txt | tr '[:upper:]' '[:lower:]' | sort | uniq -c | sort -k1,1nr -k2 | head -n 5`;

const REPORT = `mkdir -p outputs
{
  echo "# What notes.txt says"
  echo
  echo "It has $(wc -w < notes.txt | tr -d ' ') words in $(wc -l < notes.txt | tr -d ' ') lines."
  echo
  echo "| word | times |"
  echo "|---|---|"
  tr -cs '[:alpha:]' '\\n' < notes.txt | tr '[:upper:]' '[:lower:]' | sort | uniq -c | sort -k1,1nr -k2 | head -n 5 |
    while read -r times word; do echo "| $word | $times |"; done
} > outputs/report.md
ls -l outputs`;

const PACE = { gapMs: 10 };
const STORY: readonly object[] = [
  {
    ...PACE,
    think: "First look at what is there already, so that nothing is overwritten.",
    text: "I look at the workspace first.",
    tools: [{ name: "list_files", args: {} }],
  },
  {
    ...PACE,
    text: "Nothing there yet. I write the notes.",
    tools: [{ name: "write_file", args: { path: "notes.txt", content: NOTES } }],
  },
  { ...PACE, text: "Now I count its words.", tools: [{ name: "bash", args: { command: COUNT } }] },
  {
    ...PACE,
    think: "The counts are there. The report takes them from the file itself, so that they are right.",
    text: "The report comes next.",
    tools: [{ name: "bash", args: { command: REPORT } }],
  },
  { ...PACE, text: "I read it back to check it.", tools: [{ name: "read_file", args: { path: "outputs/report.md" } }] },
  {
    gapMs: 30,
    text:
      "Done. notes.txt holds four sentences about durable agents, and outputs/report.md has its number of words and the five most frequent ones, " +
      "counted by a command in the sandbox. The report was uploaded as an artifact: it stays when the session is closed and its sandbox is gone.",
  },
];
