/** The tool `write_file`: makes or replaces a file. Doing it again has the same effect. */
import { z } from "zod";
import { refusalsAsResults } from "./failure.ts";
import type { Tool } from "./tool.ts";

const Parameters = z.strictObject({
  path: z.string().min(1).describe("The file, relative to the workspace. Missing folders are made."),
  content: z.string().describe("The whole content of the file."),
});

export const writeFile: Tool<typeof Parameters> = {
  name: "write_file",
  description: "Writes a whole file, replacing it when it is there. To change a part of a file, use edit_file.",
  parameters: Parameters,
  replay: "safe",
  quick: true,
  changesFiles: true,
  changesWorld: true,
  argumentKinds: { path: "path" },
  summary: ({ path }) => `write_file: ${path}`,
  run: ({ path, content }, { sandbox }) =>
    refusalsAsResults(async () => {
      const bytes = Buffer.from(content);
      await sandbox.writeFile(path, bytes);
      return { outcome: "ok", text: `Wrote ${path} (${bytes.length} bytes).` };
    }),
};
