/** Lets a person edit a text in their own editor ($VISUAL or $EDITOR), which has the terminal for that time. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

/** The editor that somebody has set. */
export function editorOf(env: NodeJS.ProcessEnv): string | undefined {
  return env["VISUAL"] || env["EDITOR"] || undefined;
}

/**
 * The text as it was left.
 * @throws When the editor cannot be started or fails; then nothing was edited.
 */
export async function editText(text: string, editor: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "perdure-edit-"));
  try {
    const file = path.join(folder, "arguments.json");
    await writeFile(file, text, { mode: 0o600 });
    await run(editor, file);
    return await readFile(file, "utf8");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** An editor may be a command with options, such as `code --wait`: the shell reads it, the file is an argument. */
function run(editor: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
    child.on("error", reject);
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`the editor ended with ${code}`))));
  });
}
