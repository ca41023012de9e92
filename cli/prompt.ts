/** What a person wants said to the agent: the argument, or what is piped in. */
import { LIMITS } from "../contract/limits.ts";
import type { Io } from "./io.ts";
import { UsageError } from "./usage-error.ts";

/** @throws UsageError when there is nothing to say, or too much. */
export async function readPrompt(given: string | undefined, stdin: Io["stdin"]): Promise<string> {
  const isPiped = given === "-" || (given === undefined && !stdin.isTTY);
  const prompt = isPiped ? await readAll(stdin) : (given ?? "");
  if (prompt.trim() === "") {
    throw new UsageError(
      isPiped
        ? "nothing came on the standard input: pipe the text in"
        : "say what to do: give a text, or - and pipe it in",
    );
  }
  return prompt;
}

async function readAll(stdin: Io["stdin"]): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stdin) {
    const buffer = Buffer.from(chunk);
    bytes += buffer.length;
    if (bytes > LIMITS.messageBytesMax)
      throw new UsageError(`the text is too long: a message holds at most ${LIMITS.messageBytesMax} bytes`);
    chunks.push(buffer);
  }
  return Buffer.concat(chunks).toString("utf8").trimEnd();
}
