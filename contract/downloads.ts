/** Downloads into a session's workspace: bodies of the HTTP API. */
import { z } from "zod";
import { LIMITS } from "./limits.ts";

export const PostDownload = z
  .strictObject({
    url: z.string().min(1).max(LIMITS.urlCharactersMax).meta({
      description: "http or https, without a user and a password in it. It is fetched by the worker.",
    }),
    path: z.string().max(LIMITS.pathCharactersMax).meta({
      description: "Where in the workspace: the file, or with `extract` the folder; empty is the workspace itself.",
    }),
    sha256: z
      .string()
      .regex(/^[0-9A-Fa-f]{64}$/, "expected 64 hexadecimal digits")
      .optional()
      .meta({ description: "Of what is fetched; anything else is not taken." }),
    extract: z.boolean().default(false).meta({
      description: "A zip, tar or tar.gz is opened: files, folders and symlinks inside of it, all or nothing.",
    }),
    timeoutMs: z.number().int().min(1).max(LIMITS.downloadTimeoutMs.max).default(LIMITS.downloadTimeoutMs.default),
  })
  .meta({ id: "PostDownload" });
export type PostDownload = z.infer<typeof PostDownload>;

export const Downloaded = z
  .object({
    path: z.string(),
    bytes: z.number().int().nonnegative().meta({ description: "Of what was fetched." }),
    sha256: z.string(),
    files: z.number().int().nonnegative().optional().meta({ description: "Of an archive: files that were laid in." }),
  })
  .meta({ id: "Downloaded" });
export type Downloaded = z.infer<typeof Downloaded>;
