/** What a backend can do, as `GET /v1/backends` tells it: so that a limit is known before it is met. */
import { z } from "zod";
import { ModelSettings } from "./agents.ts";
import { AnnouncedSandbox } from "./sandbox.ts";

export const BackendCapabilities = z
  .object({
    wires: z.array(z.string()).meta({ description: "Wires that it can speak to a model's provider." }),
    thinking: z.boolean().meta({ description: "What the model thinks aloud is streamed." }),
    images: z.boolean().meta({ description: "Images in messages reach the model." }),
    files: z.boolean().meta({ description: "Files in messages reach the model." }),
    parallelTools: z.boolean(),
    structuredOutput: z.enum(["native", "asked"]).meta({
      description:
        "native: the provider is given the schema; asked: the model is told of it in words. Both are checked.",
    }),
    steering: z.boolean().meta({ description: "A message may join a running turn at its next step." }),
    resume: z.enum(["transcript", "state"]).meta({
      description:
        "What a step on another worker starts from: the transcript alone, or the backend's own state beside it.",
    }),
    settings: z
      .array(z.enum(Object.keys(ModelSettings.shape) as [keyof ModelSettings, ...(keyof ModelSettings)[]]))
      .meta({
        description: "The modelSettings that it takes; any other is refused.",
      }),
  })
  .meta({ id: "BackendCapabilities" });
export type BackendCapabilities = z.infer<typeof BackendCapabilities>;

export const ModelInfo = z.object({ id: z.string() }).meta({ id: "ModelInfo" });
export type ModelInfo = z.infer<typeof ModelInfo>;

/** Whether a backend can be used as it is set up, and if not, why and what to do. */
export const BackendValidation = z
  .object({
    valid: z.boolean(),
    errors: z.array(z.object({ code: z.string(), message: z.string() })),
    checkedAt: z.number().int(),
  })
  .meta({ id: "BackendValidation" });
export type BackendValidation = z.infer<typeof BackendValidation>;

export const BackendReport = z
  .object({
    name: z.string(),
    title: z.string(),
    capabilities: BackendCapabilities,
    defaultModel: z.string().nullable(),
    models: z.array(ModelInfo).meta({ description: "Empty when its provider lists none or cannot be asked." }),
    validation: BackendValidation.nullable().meta({ description: "null: no running worker has tried it yet." }),
    workers: z.number().int().meta({ description: "Running workers that have it." }),
  })
  .meta({ id: "BackendReport" });
export type BackendReport = z.infer<typeof BackendReport>;

export const BackendList = z.object({ backends: z.array(BackendReport) }).meta({ id: "BackendList" });
export type BackendList = z.infer<typeof BackendList>;

/** A tool as a worker announces it, so that the API knows what a profile may name. */
export const AnnouncedTool = z.object({
  name: z.string(),
  description: z.string(),
  source: z.string().meta({ description: "`built-in`, or the plugin's name." }),
  changesWorld: z.boolean(),
});
export type AnnouncedTool = z.infer<typeof AnnouncedTool>;

/** What a running worker says of itself: the content of its row, renewed while it lives. */
export const WorkerAnnouncement = z.object({
  /** Empty in rows of before 0.3. */
  host: z.string().default(""),
  sandboxes: z.array(AnnouncedSandbox).default([]),
  tools: z.array(AnnouncedTool),
  /** Names, never values. */
  secrets: z.array(z.string()).optional(),
  backends: z.array(
    z.object({
      name: z.string(),
      defaultModel: z.string().nullable(),
      models: z.array(ModelInfo),
      validation: BackendValidation.nullable(),
    }),
  ),
});
export type WorkerAnnouncement = z.infer<typeof WorkerAnnouncement>;
/** With what a row of before 0.3 lacks left out. */
export type WorkerAnnouncementInput = z.input<typeof WorkerAnnouncement>;
